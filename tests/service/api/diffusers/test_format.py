"""The remote protocol of diffusers, driven by its own client against a tiny autoencoder of an image generator."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from starlette.testclient import TestClient

from tests import vaes
from tests.service.http import picture, refused, served
from tests.service.server_process import serve

remote = pytest.importorskip("diffusers.utils.remote_utils", reason="the package diffusers is not installed")

DTYPES = {torch.float16: 1e-3, torch.bfloat16: 1e-2, torch.float32: 1e-5}  # and how far they round
FACTORS = {"scaling_factor": 0.3611, "shift_factor": 0.1159}
LEVEL = 1 / 127.5  # of pixels in -1..1


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Of a server process."""
    models, _ = vaes.write_package()
    with serve(models) as address:
        yield f"http://{address}/diffusers/vae"


@pytest.fixture(scope="module")
def local() -> Iterator[TestClient]:
    models, _ = vaes.write_package()
    with served(models) as client:
        yield client


def encode(pictures: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        mean: torch.Tensor = vaes.write_package()[1].encode(pictures).latent_dist.mean
    return mean


def decode(latents: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        sample: torch.Tensor = vaes.write_package()[1].decode(latents).sample
    return sample


def make_latents(count: int = 1, height: int = 8, width: int = 12) -> torch.Tensor:
    return torch.randn(count, 4, height, width, generator=torch.Generator().manual_seed(5))


def to_grey(sample: torch.Tensor) -> np.ndarray:
    """[N,C,H,W] -> [N,H,W,C] of 0..255."""
    return ((sample + 1) * 127.5).clamp(0, 255).permute(0, 2, 3, 1).numpy()


# --- decode ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [1, 3])
def test_tensors_are_those_of_the_module(endpoint: str, dtype: torch.dtype, count: int) -> None:
    latents = make_latents(count).to(dtype)
    answer = remote.remote_decode(f"{endpoint}/decode", latents, do_scaling=False, output_type="pt", return_type="pt")
    assert answer.dtype == dtype
    expected = decode(latents.float()).clamp(-1, 1)
    torch.testing.assert_close(answer.float(), expected, atol=LEVEL + DTYPES[dtype], rtol=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_factors_are_applied_as_pipelines_do(endpoint: str, dtype: torch.dtype) -> None:
    latents = make_latents().to(dtype)
    expected = to_grey(decode(latents.float() / 0.3611 + 0.1159))
    answer = remote.remote_decode(
        f"{endpoint}/decode", latents, **FACTORS, output_type="pt", return_type="pt", partial_postprocess=True
    )
    assert answer.dtype == torch.uint8
    assert np.abs(answer.numpy() - expected).max() <= 1
    image = remote.remote_decode(
        f"{endpoint}/decode", latents, **FACTORS, output_type="pt", return_type="pil", partial_postprocess=True
    )
    assert np.abs(np.asarray(image) - expected[0]).max() <= 1
    with pytest.warns(FutureWarning, match="do_scaling"):  # without factors the client asks for those of the package
        own = remote.remote_decode(
            f"{endpoint}/decode", latents, do_scaling=True, output_type="pt", return_type="pt", partial_postprocess=True
        )
    torch.testing.assert_close(own, answer)


@pytest.mark.parametrize("image_format", ["png", "jpg"])
def test_pictures_come_in_the_format_that_was_asked_for(endpoint: str, image_format: Any) -> None:
    latents = make_latents()
    image = remote.remote_decode(
        f"{endpoint}/decode", latents, do_scaling=False, output_type="pil", image_format=image_format
    )
    assert isinstance(image, Image.Image)
    assert image.format == {"png": "png", "jpg": "jpeg"}[image_format]
    assert image.size == (48, 32)
    difference = np.abs(np.asarray(image) - to_grey(decode(latents))[0])
    assert difference.max() <= 1 if image_format == "png" else difference.mean() < 12


def test_a_processor_on_this_side_gets_what_it_expects(endpoint: str) -> None:
    from diffusers.image_processor import VaeImageProcessor

    latents = make_latents()
    expected = to_grey(decode(latents))[0]
    processor = VaeImageProcessor(vae_scale_factor=vaes.STRIDE)
    image = remote.remote_decode(
        f"{endpoint}/decode", latents, processor=processor, do_scaling=False, output_type="pt", return_type="pil"
    )
    assert np.abs(np.asarray(image) - expected).max() <= 1
    (image,) = remote.remote_decode(
        f"{endpoint}/decode", latents, processor=processor, do_scaling=False, output_type="pil", return_type="pil"
    )
    assert np.abs(np.asarray(image) - expected).max() <= 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_packed_latents_of_flux_are_unpacked(endpoint: str, dtype: torch.dtype) -> None:
    latents = make_latents(2).to(dtype)
    packed = latents.view(2, 4, 4, 2, 6, 2).permute(0, 2, 4, 1, 3, 5).reshape(2, 24, 16)  # FluxPipeline._pack_latents
    answer = remote.remote_decode(
        f"{endpoint}/decode", packed, **FACTORS, output_type="pt", return_type="pt", partial_postprocess=True,
        height=32, width=48,
    )  # fmt: skip
    expected = to_grey(decode(latents.float() / 0.3611 + 0.1159))
    assert np.abs(answer.numpy() - expected).max() <= 1


# --- encode ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("factors", [{}, FACTORS])
def test_a_tensor_is_encoded(endpoint: str, dtype: torch.dtype, factors: dict[str, float]) -> None:
    pictures = vaes.make_pictures(2)
    answer = remote.remote_encode(f"{endpoint}/encode", pictures.to(dtype), **factors)
    assert answer.dtype == dtype
    expected = encode(pictures)
    if factors:
        expected = (expected - 0.1159) * 0.3611
    share = {torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}[dtype]  # of pixels too
    torch.testing.assert_close(answer.float(), expected, atol=share * float(expected.abs().max()), rtol=0)


@pytest.mark.parametrize("factors", [{}, FACTORS])
def test_a_picture_is_encoded(endpoint: str, factors: dict[str, float]) -> None:
    pictures = vaes.make_pictures()
    image = Image.fromarray(to_grey(pictures)[0].round().astype(np.uint8))
    answer = remote.remote_encode(f"{endpoint}/encode", image, **factors)
    expected = encode(pictures)
    if factors:
        expected = (expected - 0.1159) * 0.3611
    torch.testing.assert_close(answer, expected, atol=1e-3 * float(expected.abs().max()), rtol=0)


def test_there_and_back(endpoint: str) -> None:
    pictures = vaes.make_pictures()
    latents = remote.remote_encode(f"{endpoint}/encode", pictures, **FACTORS)
    answer = remote.remote_decode(
        f"{endpoint}/versions/1/decode", latents, **FACTORS, output_type="pt", return_type="pt"
    )
    torch.testing.assert_close(answer, decode(encode(pictures)).clamp(-1, 1), atol=2 * LEVEL, rtol=0)


# --- refusals --------------------------------------------------------------------------------------------


def test_the_client_shows_the_refusal(endpoint: str) -> None:
    with pytest.raises(RuntimeError, match="do not fit into one file"):
        remote.remote_decode(f"{endpoint}/decode", make_latents(2), do_scaling=False)
    with pytest.raises(RuntimeError, match="a video is not answered"):
        remote.remote_decode(f"{endpoint}/decode", make_latents(), do_scaling=False, output_type="mp4")
    with pytest.raises(RuntimeError, match="latent wants"):
        remote.remote_decode(f"{endpoint}/decode", make_latents()[:, :3], do_scaling=False)
    with pytest.raises(RuntimeError, match="must be from -1 to 1"):
        remote.remote_encode(f"{endpoint}/encode", torch.full((1, 3, 32, 32), 255.0))


@pytest.mark.parametrize(
    ("query", "status", "sentence"),
    [
        ("", 422, "shape is missing"),
        ("shape=1&shape=4&shape=8&shape=8", 422, "dtype is missing"),
        ("shape=1&shape=4&shape=8&shape=8&dtype=float64", 422, "dtype is 'float64'; allowed are float16"),
        ("shape=1&shape=-4&dtype=float32", 422, "shape is '-4'"),
        ("shape=1&shape=4&shape=8&shape=9&dtype=float32", 400, "is 1152 bytes; 1024 came"),
        ("shape=1&shape=16&shape=16&dtype=float32", 422, "need height and width"),
        ("shape=1&shape=16&shape=16&dtype=float32&height=32&width=40", 422, "packed latents of 40x32 are [N,20,4C]"),
        ("shape=256&dtype=float32", 422, "shape is [256]"),
        ("shape=1&shape=4&shape=8&shape=8&dtype=float32&scaling_factor=0", 422, "scaling_factor is '0'"),
        ("shape=1&shape=4&shape=8&shape=8&dtype=float32&shift_factor=nan", 422, "shift_factor is 'nan'"),
        ("shape=1&shape=4&shape=8&shape=8&dtype=float32&tiles=2", 422, "there is no parameter 'tiles'"),
        ("shape=1&shape=4&shape=8&shape=8&dtype=float32&partial_postprocess=1", 422, "allowed are True and False"),
    ],
)
def test_a_query_that_cannot_be_used_is_refused(local: TestClient, query: str, status: int, sentence: str) -> None:
    refused(local.post(f"/diffusers/vae/decode?{query}", content=bytes(1024)), status, sentence)


def test_bodies_that_cannot_be_used_are_refused(local: TestClient) -> None:
    query = "shape=1&shape=4&shape=8&shape=8&dtype=float32"
    nan = np.full((1, 4, 8, 8), np.nan, np.float32).tobytes()
    refused(local.post(f"/diffusers/vae/decode?{query}", content=nan), 422, "NaN")
    huge = np.full((1, 4, 8, 8), 3e38, np.float32).tobytes()
    refused(local.post(f"/diffusers/vae/decode?{query}&scaling_factor=0.1", content=huge), 422, "infinity")
    refused(local.post("/diffusers/vae/encode", content=b"no picture"), 415, "no picture")
    refused(local.post("/diffusers/none/encode", content=b""), 404, "none")
    refused(
        local.post(f"/diffusers/vae/decode?{query}", content=bytes(1024), headers={"Content-Encoding": "gzip"}), 415
    )
    refused(local.get("/diffusers/vae/decode"), 405, "POST")


def test_other_models_of_pictures_are_reached_and_vectors_are_not(client: TestClient) -> None:
    answer = client.post("/diffusers/small/encode", content=picture())
    assert answer.headers["shape"] == "[1, 32]"
    assert np.frombuffer(answer.content, np.float32).shape == (32,)
    refused(client.post("/diffusers/signal/encode", content=b""), 422, "use /v1/models/signal/encode")
    refused(client.post("/diffusers/negative/decode", content=b""), 409, "negative has no operation decode")
    own = client.post("/diffusers/small/decode?shape=1&shape=32&dtype=float32&do_scaling=True", content=bytes(128))
    refused(own, 422, "no factors of its own")


# --- the same factors in /v1 and /v2 ---------------------------------------------------------------------


def test_latents_of_v1_are_scaled_by_query(local: TestClient) -> None:
    url = "/v1/models/vae"
    image = picture(to_grey(vaes.make_pictures())[0].round().astype(np.uint8))
    plain = local.post(f"{url}/encode", content=image).json()
    scaled = local.post(f"{url}/encode?latents=scaled", content=image).json()
    assert scaled["scaled"] is True
    expected = (np.array(plain["latents"]) - 0.1159) * 0.3611
    np.testing.assert_allclose(scaled["latents"], expected, atol=1e-5)
    answers = [
        local.post(f"{url}/decode", json=plain).json()["outputs"],
        local.post(f"{url}/decode", json=scaled).json()["outputs"],
        local.post(f"{url}/decode?latents=scaled", json={"latents": scaled["latents"]}).json()["outputs"],
    ]
    assert np.abs(np.array(answers[0]) - answers[1]).max() <= 1
    assert answers[1] == answers[2]
    tensor = {"name": "latent", "datatype": "FP32", "shape": [1, 4, 8, 12], "data": scaled["latents"]}
    body = {"inputs": [tensor], "parameters": {"latents": "scaled"}}
    other = local.post("/v2/models/vae.decode/infer", json=body).json()["outputs"][0]["data"]
    assert np.array(other).reshape(-1).tolist() == np.array(answers[1]).reshape(-1).tolist()
    assert local.get(url).json()["latent_scaling"] == FACTORS
    refused(local.post(f"{url}/decode", json={**plain, "scaled": 1}), 422, "true or false")


def test_models_without_factors_say_so(client: TestClient) -> None:
    refused(client.post("/v1/models/small/encode?latents=scaled", content=picture()), 422, "no factors")
    body = {"latents": [[0.0] * 32], "scaled": True}
    refused(client.post("/v1/models/small/decode", json=body), 422, "no factors")
