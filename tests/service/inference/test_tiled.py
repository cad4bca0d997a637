"""Pictures of any size through a denoiser: tiles, depth, alpha, strength."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.codecs import images
from service.imaging.picture import Picture
from service.inference import tiled
from service.model.package import read
from service.model.runtime import Model
from service.settings import Settings
from tests.service import packages as doubles
from tests.service.denoisers import ALL_DEPTHS, decode_pages, denoise_url, pixels, send
from tests.service.http import NPY, npy, opened, picture, refused, url
from tests.service.imaging.test_figures import draw_page, draw_photograph
from tests.service.imaging.test_tiling import structured


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (16, 12)])
def test_a_denoiser_takes_any_size(client: TestClient, size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    response = client.post(url("denoise", "negative"), files={"image": picture(pixels)})
    assert np.array_equal(opened(response.content), 255 - pixels)
    fit = client.post(url("denoise", "negative") + "?fit=cover", files={"image": picture(pixels)})
    refused(fit, 422, "fit is for models of one image size")


@pytest.mark.parametrize(("dtype", "bands"), ALL_DEPTHS)
@pytest.mark.parametrize("model", ["negative", "grey-negative"])
def test_depth_alpha_and_colour_stay_as_they_were(denoisers: TestClient, model: str, dtype: Any, bands: int) -> None:
    original = pixels(dtype, bands)
    response = send(denoisers, model, images.encode(Picture(original), "image/png"))
    assert response.headers["content-type"] == "image/png"
    (got,) = decode_pages(response.content)
    colours = 1 if bands < 3 else 3
    model_input = original.astype(int) if dtype == np.uint8 else (original.astype(int) + 128) // 257
    correction = (255 - 2 * model_input[:, :, :colours]) * (1 if dtype == np.uint8 else 257)
    expected = np.clip(original[:, :, :colours] + correction, 0, np.iinfo(dtype).max)
    assert got.pixels.dtype == dtype
    np.testing.assert_array_equal(got.pixels[:, :, :colours], expected)
    np.testing.assert_array_equal(got.pixels[:, :, colours:], original[:, :, colours:])


def test_a_page_in_tiles_is_the_page_as_a_whole(denoisers: TestClient) -> None:
    original = picture(structured(201, 187)[:, :, 0])
    in_tiles, untiled = (opened(send(denoisers, model, original).content).astype(int) for model in ("page", "whole"))
    assert np.abs(in_tiles - untiled).max() <= 1
    batch = np.stack([structured(70, 81), structured(70, 81)[::-1]])
    arrays = [
        np.load(io.BytesIO(denoisers.post(denoise_url(m), content=npy(batch), headers=NPY).content))
        for m in ("page", "whole")
    ]
    assert arrays[0].shape == batch.shape
    assert np.abs(arrays[0].astype(int) - arrays[1]).max() <= 1


@pytest.mark.parametrize("shape", [(19, 45), (19, 45, 1), (2, 19, 45), (2, 19, 45, 1)])
def test_a_model_for_colour_takes_grey_arrays_as_it_takes_grey_pictures(
    denoisers: TestClient, shape: tuple[int, ...]
) -> None:
    grey = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    answer = denoisers.post(denoise_url("photo"), content=npy(grey), headers=NPY)
    assert answer.status_code == 200, answer.text
    denoised = np.load(io.BytesIO(answer.content)).reshape(-1, 19, 45)
    for page, original in zip(denoised, grey.reshape(-1, 19, 45), strict=True):
        data = images.encode(Picture(original[..., None]), "image/png")
        expected = decode_pages(send(denoisers, "photo", data).content)[0].pixels[..., 0]
        np.testing.assert_array_equal(page, expected)


def test_arrays_of_two_or_four_channels_are_no_images(denoisers: TestClient) -> None:
    for channels in (2, 4):
        answer = denoisers.post(denoise_url("photo"), content=npy(np.zeros((9, 9, channels), np.uint8)), headers=NPY)
        refused(answer, 422, "images are")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_strength_is_between_the_picture_and_the_denoised_one(denoisers: TestClient, dtype: Any) -> None:
    original = pixels(dtype, 3)
    data = images.encode(Picture(original), "image/png")
    unchanged, half, full = (
        decode_pages(send(denoisers, "photo", data, f"?strength={s}").content)[0].pixels.astype(float)
        for s in (0, 0.5, 1)
    )
    np.testing.assert_array_equal(unchanged, original)
    in_range = (full > 0) & (full < np.iinfo(dtype).max)
    np.testing.assert_allclose(half[in_range], ((original + full) / 2)[in_range], atol=1)
    assert np.abs(full - original).mean() > 1


def test_small_images_of_one_shape_are_run_together_and_large_tiles_alone(tmp_path: Path) -> None:
    model = Model(read(doubles.write_denoisers(tmp_path) / "page" / "1"))
    square, strip = np.zeros((8, 8, 1), np.uint8), np.zeros((8, 490, 1), np.uint8)
    small = tiled.plan_tasks(model, Picture(square), square, 32) * 3
    large = tiled.plan_tasks(model, Picture(strip), strip, 32)
    groups = list(tiled.group_tasks([*small, *large], 8 * 112 * 2))
    assert [len(group) for group in groups] == [3, 2, 2, 2, 1]


def test_a_strength_above_one_denoises_the_result_again(denoisers: TestClient) -> None:
    original = pixels(np.uint16, 3)
    data = images.encode(Picture(original), "image/png")

    def denoise(picture: bytes, strength: float) -> bytes:
        return bytes(send(denoisers, "photo", picture, f"?strength={strength}").content)

    for strength in (1.4, 2):
        at_once, in_two_calls = denoise(data, strength), denoise(denoise(data, 1), strength - 1)
        np.testing.assert_array_equal(decode_pages(at_once)[0].pixels, decode_pages(in_two_calls)[0].pixels)


def test_figures_stay_as_they_are_unless_the_request_says_otherwise(tmp_path: Path) -> None:
    models = tmp_path / "models"
    doubles.write(models, "keeping", doubles.denoiser_graphs(3), halo=3, keeps_figures=True, **FACTS)
    doubles.write(models, "cleaning", doubles.denoiser_graphs(3), halo=3, **FACTS)
    page = draw_page(0)
    rows, columns = slice(224, 480), slice(320, 704)
    page[rows, columns] = draw_photograph(0, (256, 384), is_coloured=False)
    data = picture(page)
    with TestClient(create_app(Settings(models=models, tile=256, workers=2))) as client:
        kept, second = (opened(send(client, "keeping", data, query).content) for query in ("", "?strength=2"))
        np.testing.assert_array_equal(kept[256:448, 352:640], page[256:448, 352:640])
        np.testing.assert_array_equal(kept[:160], 255 - page[:160])
        np.testing.assert_array_equal(second[256:448, 352:640], page[256:448, 352:640])
        for model, query in (("keeping", "?figures=clean"), ("cleaning", "")):
            np.testing.assert_array_equal(opened(send(client, model, data, query).content), 255 - page)
        answer = client.post(denoise_url("cleaning", "?figures=keep"), files={"image": data})
        refused(answer, 422, "figures is for models of pages that keep them")
        refused(
            client.post(denoise_url("keeping", "?figures=all"), files={"image": data}),
            422,
            "allowed are 'keep' or 'clean'",
        )
        described = {name: client.get(f"/v1/models/{name}").json()["keeps_figures"] for name in ("keeping", "cleaning")}
        assert described == {"keeping": True, "cleaning": False}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_dark_paper_is_made_bright_before_the_model_sees_it(tmp_path: Path, dtype: Any) -> None:
    """The model is a negative: it answers 255 less the picture that it was given. Strength 0 changes nothing."""
    models = tmp_path / "models"
    doubles.write(models, "pages", doubles.denoiser_graphs(3), halo=3, keeps_figures=True, **FACTS)
    page = draw_page(0, ink=20, paper=150).astype(dtype) * dtype(np.iinfo(dtype).max // 255)
    data = images.encode(Picture(page), "image/png")
    with TestClient(create_app(Settings(models=models, tile=256, workers=2))) as client:
        results = {
            query: decode_pages(send(client, "pages", data, query).content)[0].pixels
            for query in ("", "?figures=clean", "?strength=0", "?strength=0.5", "?strength=2")
        }
    np.testing.assert_array_equal(results["?strength=0"], page)
    np.testing.assert_array_equal(results["?figures=clean"], results[""])
    unit = np.iinfo(dtype).max / 255
    expected = 255 - np.minimum(page / unit * (205 / 150), 255)
    assert np.abs(results[""] / unit - expected).max() < 6
    half = (page.astype(np.float64) + results[""]) / 2
    assert np.abs(results["?strength=0.5"] - half).max() <= unit
    # the second pass sees a bright page already, and so has no gain
    assert np.abs(results["?strength=2"] / unit - (255 - expected)).max() < 6


# --- graphs that look at whole images --------------------------------------------------------------------

FACTS: dict[str, Any] = {"kind": "denoising", "operations": ("denoise",), "reconstruction_error_quantiles": None}


@pytest.fixture
def imported(tmp_path: Path) -> Iterator[TestClient]:
    """page in blended tiles, of which half a halo is exact; negative in them; and page on whole images of 64x64."""
    models = tmp_path / "models"
    graphs = doubles.convolutional_graphs(1)
    doubles.write(models, "blended", graphs, halo=2 * doubles.CONVOLUTIONAL_HALO, overlap="blended", **FACTS)
    doubles.write(models, "negative", doubles.denoiser_graphs(3), halo=3, overlap="blended", **FACTS)
    doubles.write(models, "whole", graphs, **FACTS)
    doubles.write(models, "measured", graphs, memory=((1024, 10**6), (4096, 4 * 10**6)), **FACTS)
    settings = Settings(models=models, tile=64, max_run_bytes=6 * 2**20, workers=2)
    with TestClient(create_app(settings)) as client:
        yield client


def test_blended_tiles_are_the_page_where_their_halo_is_wide_enough(imported: TestClient) -> None:
    original = picture(structured(301, 187)[:, :, 0])
    in_tiles, untiled = (opened(send(imported, model, original).content).astype(int) for model in ("blended", "whole"))
    assert np.abs(in_tiles - untiled).max() <= 1


@pytest.mark.parametrize(("white", "dtype"), [(1, np.float32), (4095, np.uint16), (4095, np.int32)])
def test_blended_tiles_keep_the_range_of_their_picture(imported: TestClient, white: float, dtype: Any) -> None:
    original = structured(150, 170)
    scaled = (original / 255 * white).astype(dtype)
    scaled[0, 0] = white
    data = images.encode(Picture(scaled), "image/tiff")
    (unchanged,) = decode_pages(send(imported, "negative", data, "?strength=0").content)
    np.testing.assert_array_equal(unchanged.pixels, scaled)
    (result,) = decode_pages(send(imported, "negative", data).content)
    np.testing.assert_allclose(result.pixels / white, 1 - scaled / white, atol=2.5 / 255)


@pytest.mark.parametrize(("dtype", "bands"), ALL_DEPTHS)
def test_blended_tiles_keep_depth_alpha_and_colour(imported: TestClient, dtype: Any, bands: int) -> None:
    original = pixels(dtype, bands, 150, 90)
    (got,) = decode_pages(send(imported, "negative", images.encode(Picture(original), "image/png")).content)
    colours = 1 if bands < 3 else 3
    assert got.pixels.dtype == dtype
    np.testing.assert_array_equal(got.pixels[:, :, colours:], original[:, :, colours:])
    if dtype == np.uint8:
        np.testing.assert_array_equal(got.pixels[:, :, :colours], 255 - original[:, :, :colours])


def test_images_larger_than_those_that_were_measured_are_413(imported: TestClient) -> None:
    assert send(imported, "measured", picture(structured(64, 64)[:, :, 0])).status_code == 200
    large = imported.post(denoise_url("measured"), files={"image": picture(structured(65, 64)[:, :, 0])})
    refused(large, 413, "measured up to 0.0041 Mpixel when it was imported")
    two = [("image", picture(structured(64, 64)[:, :, 0]))] * 2
    admission = imported.app.services.admission  # type: ignore[attr-defined]
    assert admission.memory == 0
    answer = imported.post(denoise_url("measured"), files=two, headers={"accept": "application/x-npy"})
    assert answer.status_code == 413, "two runs side by side take 8 MB of 6.3"
    assert admission.memory == 0
