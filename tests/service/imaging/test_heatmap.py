"""`?explain=heatmap`: options an input differs from what the model knows, as a picture and as numbers."""

import asyncio
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from starlette.testclient import TestClient

from service.cli.main import main
from service.client import AsyncClient
from service.imaging import heatmap
from tests.service.http import DRAWN, IMAGE, NPY, npy, opened, picture, refused, url
from tests.service.test_client import asked

SQUARES = np.square((IMAGE.astype(np.float64) - DRAWN) / 255).astype(np.float32)  # the double knows the first 32 pixels
EXPLAIN = f"{url('reconstruct')}?explain=heatmap"


def test_a_picture_is_answered_by_a_png_in_the_colours_of_the_scale(client: TestClient) -> None:
    steps = np.repeat(np.array([0, 21, 43, 64, 85, 106, 128, 255], np.uint8), 98).reshape(28, 28)
    response = client.post(EXPLAIN, content=picture(steps, "JPEG", quality=100), headers={"Content-Type": "image/jpeg"})
    assert response.headers["content-type"] == "image/png", "and no JPEG, which smears colours"
    assert response.headers["reconstruction-error"]
    response = client.post(EXPLAIN, content=picture(steps))
    colours = opened(response.content).reshape(-1, 3)[98 * np.arange(8) + 97].astype(int)
    expected = [
        (0, 0, 0),
        (126, 0, 0),
        (255, 3, 0),
        (255, 129, 0),
        (255, 255, 0),
        (255, 255, 126),
        (255,) * 3,
        (255,) * 3,
    ]
    np.testing.assert_allclose(colours, expected, atol=3)
    luma = colours @ [299, 587, 114]
    assert (np.diff(luma) >= 0).all(), "more is never darker"


def test_the_numbers_are_squared_differences_whose_mean_is_the_reconstruction_error(client: TestClient) -> None:
    response = client.post(EXPLAIN, content=npy(IMAGE), headers=NPY)
    numbers = np.load(io.BytesIO(response.content))
    assert numbers.dtype == np.float32
    np.testing.assert_allclose(numbers, SQUARES[None], rtol=1e-6)
    assert float(response.headers["reconstruction-error"]) == pytest.approx(numbers.mean(), rel=1e-4)
    document = client.post(EXPLAIN, content=picture(), headers={"Accept": "application/json"}).json()
    np.testing.assert_allclose(document["heatmaps"], SQUARES[None], rtol=1e-5)
    assert document["reconstruction_error"] == pytest.approx([SQUARES.mean()], rel=1e-5)
    assert not {"images", "outputs"} & document.keys()
    several = client.post(EXPLAIN, files=[("image", picture()), ("image", picture(255 - IMAGE))]).json()
    assert np.shape(several["heatmaps"]) == (2, 28, 28)


def test_channels_are_one_error_and_signals_are_explained_sample_by_sample(client: TestClient) -> None:
    batch, reconstruction = np.zeros((2, 4, 5, 3), np.uint8), np.zeros((2, 4, 5, 3), np.uint8)
    reconstruction[1, 2, 3] = 51, 0, 102
    errors = heatmap.squared_errors(batch, reconstruction)
    assert errors.shape == (2, 4, 5)
    assert errors[1, 2, 3] == pytest.approx((0.2**2 + 0.4**2) / 3)
    assert np.count_nonzero(errors) == 1
    vectors = np.array([[1, 2, 3]], np.float32)
    np.testing.assert_array_equal(heatmap.squared_errors(vectors, vectors + np.array([0, 2, -1])), [[0, 4, 1]])
    signal = np.linspace(-1, 1, client.get("/v1/models/signal").json()["ports"]["vector"]["shape"][1], dtype=np.float32)
    plain = client.post(url("reconstruct", "signal"), content=npy(signal[None]), headers=NPY)
    explained = client.post(f"{url('reconstruct', 'signal')}?explain=heatmap", content=npy(signal[None]), headers=NPY)
    back = np.load(io.BytesIO(plain.content))
    np.testing.assert_allclose(np.load(io.BytesIO(explained.content)), (signal[None] - back) ** 2, atol=1e-6)
    accept = {**NPY, "Accept": "image/png"}
    refused(
        client.post(f"{url('reconstruct', 'signal')}?explain=heatmap", content=npy(signal[None]), headers=accept),
        406, "the result is numbers, not an image",
    )  # fmt: skip


def test_explain_is_a_parameter_of_reconstruct_and_of_no_other_operation(client: TestClient) -> None:
    refused(client.post(f"{url('encode')}?explain=heatmap", content=picture()), 422, "explain is for reconstruct")
    refused(client.post(f"{url('reconstruct')}?explain=why", content=picture()), 422, "'why'", "'heatmap'")
    refused(
        client.post(f"{url('reconstruct')}?what=why", content=picture()),
        422,
        "allowed are fit, white, explain and false_alarm_rate",
    )
    answer = client.post("/v2/models/small.reconstruct/infer?explain=heatmap", content=b"{}")
    assert (answer.status_code, answer.json()["error"].partition(";")[0]) == (
        422, "explain is for /v1/models/{name}/reconstruct",
    )  # fmt: skip
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        if path.endswith(("reconstruct", "encode")):
            schemas = {parameter["name"]: parameter["schema"] for parameter in methods["post"]["parameters"]}
            assert schemas.get("explain") == (
                {"type": "string", "enum": ["heatmap"]} if "reconstruct" in path else None
            )


def test_the_client_returns_numbers_and_pictures(models: Path) -> None:
    async def request_both(client: AsyncClient) -> None:
        np.testing.assert_allclose(await client.heatmap("small", IMAGE[None]), SQUARES[None], rtol=1e-6)
        assert opened(await client.heatmap("small", picture())).shape == (28, 28, 3)

    asyncio.run(asked(models, request_both))


def test_files_become_heatmaps(models: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    for name in ("a.png", "b.jpg"):
        Pillow.fromarray(IMAGE).save(scans / name)
    options = ["--models", str(models), "--model", "small", "--explain", "heatmap"]
    assert main(["reconstruct", str(scans), "-o", str(tmp_path / "out"), *options]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.jpg.png"]
    np.testing.assert_array_equal(opened((tmp_path / "out/a.png").read_bytes()), heatmap.to_colours(SQUARES).pixels)
    assert main(["reconstruct", str(scans / "a.png"), "-o", str(tmp_path / "a.npy"), *options]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "a.npy"), SQUARES[None], rtol=1e-6)
    capfd.readouterr()
    assert main(["reconstruct", str(scans / "a.png"), "-o", str(tmp_path / "a.jpg"), *options]) == 2
    assert "there are: .png, .npy" in capfd.readouterr().err
    assert main(["reconstruct", str(scans), "-o", "x/", "--images", "y", *options]) == 2
