"""Autoencoder: a package in this process answers as the service does, for any number of samples."""

import inspect
import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from service import autoencoder
from service.api.query import PARAMETERS
from service.autoencoder import Autoencoder
from service.client import AsyncClient, Client, ServiceProblem
from service.model.errors import PackageError
from tests.service import packages as doubles
from tests.service.http import picture, url
from tests.service.imaging.test_figures import draw_page, draw_photograph

GENERATOR = np.random.default_rng(0)


@pytest.fixture
def small(models: Path) -> Iterator[Autoencoder]:
    with Autoencoder(models / "small") as opened:
        yield opened


def test_it_answers_as_the_service_does(small: Autoencoder, client: TestClient, tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    side = small.decode(small.encode(picture())).shape[1]
    file.write_bytes(picture(GENERATOR.integers(0, 256, (side, side), dtype=np.uint8)))
    expected = client.post(
        url("encode"), content=file.read_bytes(), headers={"Content-Type": "image/png", "Accept": "application/json"}
    ).json()
    assert (small.name, small.version) == ("small", expected["version"])
    for image in (file, str(file), file.read_bytes()):
        np.testing.assert_allclose(small.encode(image), expected["latents"], rtol=1e-6)


def test_an_array_of_many_samples_is_computed_in_parts(small: Autoencoder, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = small.decode(small.encode(picture())).shape[1:]
    samples = GENERATOR.integers(0, 256, (7, *shape), dtype=np.uint8)
    latents, reconstruction = small.encode(samples), small.reconstruct(samples, false_alarm_rate=0.5)
    monkeypatch.setattr(autoencoder, "MAX_REQUEST_SAMPLES", 3)
    np.testing.assert_array_equal(small.encode(samples), latents)
    np.testing.assert_array_equal(small.encode(samples[..., 0]), latents)
    np.testing.assert_array_equal(small.decode(latents), reconstruction.output)
    in_parts = small.reconstruct(samples, false_alarm_rate=0.5)
    for name in ("output", "error", "percentile", "unusual"):
        np.testing.assert_array_equal(getattr(in_parts, name), getattr(reconstruction, name))
    monkeypatch.setattr(autoencoder, "MAX_REQUEST_BYTES", 1)
    np.testing.assert_array_equal(small.encode(samples), latents)


def test_a_tall_picture_is_not_taken_for_samples(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoencoder, "MAX_REQUEST_SAMPLES", 3)
    with Autoencoder(models / "negative" / "1") as negative:
        tall = GENERATOR.integers(0, 256, (40, 9), dtype=np.uint8)
        whole = negative.denoise(tall)
        assert whole.shape[:3] == (1, 40, 9)
        file = picture(tall)
        assert negative.denoise(file, media_type="image/tiff")[:2] == b"II"
        np.testing.assert_array_equal(negative.denoise(tall, strength=0)[0, :, :, 0], tall)


def test_what_the_model_does_not_take_is_the_services_sentence(small: Autoencoder, models: Path) -> None:
    with pytest.raises(ServiceProblem, match="cannot be read") as refusal:
        small.encode(picture()[:60])
    assert refusal.value.status == 422
    with pytest.raises(ServiceProblem, match="dtype float64"):
        small.encode(np.zeros((2, 3, 4, 5, 6)))
    with Autoencoder(models / "signal") as signal, pytest.raises(ServiceProblem, match="no operation denoise"):
        signal.denoise(np.zeros((1, 4)))


@pytest.mark.parametrize("inputs", [[np.zeros((28, 28), np.uint8)], [[0.5, 1.0]], None, Image.new("L", (28, 28))])
def test_what_is_neither_file_nor_array_is_named(small: Autoencoder, inputs: Any) -> None:
    with pytest.raises(TypeError, match=rf"not {type(inputs).__name__}: numpy\.asarray"):
        small.encode(inputs)
    path: Any = "x.png"
    with Client("http://localhost:1") as client, pytest.raises(TypeError, match="Path names a file"):
        client.encode("small", path)


def test_an_open_file_is_read(small: Autoencoder) -> None:
    data = picture()
    expected = small.encode(data)
    file: Any = io.BytesIO(data)
    np.testing.assert_array_equal(small.encode(file), expected)


def test_a_folder_without_a_package_is_named(models: Path, tmp_path: Path) -> None:
    for path in (models / "nothing", tmp_path, models):
        with pytest.raises(PackageError, match="holds no package: name models/<name>"):
            Autoencoder(path)
    damaged = tmp_path / "damaged" / "1"
    damaged.mkdir(parents=True)
    (damaged / "manifest.json").write_text("{}")
    with pytest.raises(PackageError, match=r"damaged/1"):
        Autoencoder(damaged)


def test_it_can_be_pickled_and_closed_twice(models: Path) -> None:
    first = Autoencoder(models / "signal", workers=1)
    signals = GENERATOR.standard_normal((3, first._model.sample_size))
    copy = pickle.loads(pickle.dumps(first))
    np.testing.assert_array_equal(copy.encode(signals), first.encode(signals))
    copy.close()
    first.close()
    first.close()
    with pytest.raises(RuntimeError, match="is closed"):
        first.encode(signals)


OTHER_NAMES = {"explain": "heatmap", "latents": "scaled"}
"""Parameter of the service -> the method, or the argument, that has another name in Python."""
TAKES_FILES = ("encode", "reconstruct", "denoise")


@pytest.mark.parametrize("kind", [Autoencoder, Client, AsyncClient])
@pytest.mark.parametrize("name", [name for name in PARAMETERS if name != "report"])  # which is for answers in lines
def test_every_parameter_of_the_service_is_an_argument(kind: type, name: str) -> None:
    parameter = PARAMETERS[name]
    if name == "explain":
        assert callable(getattr(kind, OTHER_NAMES[name]))
        return
    for operation in TAKES_FILES if parameter.operation is None else parameter.operations:
        argument = inspect.signature(getattr(kind, operation)).parameters[OTHER_NAMES.get(name, name)]
        assert argument.default == parameter.schema.get("default", False if name == "latents" else None)


@pytest.fixture
def drawer(tmp_path: Path) -> Iterator[Autoencoder]:
    operations: Any = ("encode", "decode", "reconstruct", "sample")
    doubles.write(tmp_path, "drawer", doubles.image_graphs(), kind="variational", operations=operations)
    with Autoencoder(tmp_path / "drawer") as opened:
        yield opened


def test_samples_are_drawn_as_the_service_draws_them(drawer: Autoencoder, monkeypatch: pytest.MonkeyPatch) -> None:
    seven = drawer.sample(7, seed=1)
    assert seven.shape == (7, 28, 28, 1)
    np.testing.assert_array_equal(drawer.sample(3, seed=1), seven[:3])
    assert drawer.sample().shape[0] == 1
    assert not np.array_equal(drawer.sample(4), drawer.sample(4)), "without a seed others each time"
    monkeypatch.setattr(autoencoder, "MAX_REQUEST_SAMPLES", 3)
    np.testing.assert_array_equal(drawer.sample(7, seed=1), seven)


def test_what_cannot_be_drawn_is_the_services_sentence(drawer: Autoencoder, small: Autoencoder) -> None:
    for count in (0, -1, 1_000_001, 1e300):
        with pytest.raises(ServiceProblem, match=r"count is .*; allowed are whole numbers from 1 to 1000000"):
            drawer.sample(count)  # type: ignore[arg-type]
    with pytest.raises(ServiceProblem, match="seed is '-1'; allowed are whole numbers from 0"):
        drawer.sample(seed=-1)
    with pytest.raises(ServiceProblem, match="no operation sample"):
        small.sample(2)


def test_figures_of_pages_are_kept_or_cleaned(tmp_path: Path) -> None:
    facts: Any = {"kind": "denoising", "operations": ("denoise",), "reconstruction_error_quantiles": None}
    doubles.write(tmp_path, "keeping", doubles.denoiser_graphs(3), halo=3, keeps_figures=True, **facts)
    page = draw_page(0)
    page[224:480, 320:704] = draw_photograph(0, (256, 384), is_coloured=False)
    file = picture(page)
    with Autoencoder(tmp_path / "keeping") as keeping:
        kept, cleaned, again = (
            np.asarray(Image.open(io.BytesIO(keeping.denoise(file, figures=figures))))
            for figures in (None, "clean", "keep")
        )
        np.testing.assert_array_equal(kept[256:448, 352:640], page[256:448, 352:640])
        np.testing.assert_array_equal(cleaned, 255 - page)
        np.testing.assert_array_equal(again, kept)
        np.testing.assert_array_equal(keeping.denoise(page[None], figures="clean")[0], 255 - page)
        with pytest.raises(ServiceProblem, match="allowed are 'keep' or 'clean'"):
            keeping.denoise(file, figures="all")


def test_the_largest_numbers_of_latents_and_heatmaps(small: Autoencoder, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = GENERATOR.integers(0, 256, (5, 28, 28, 1), dtype=np.uint8)
    latents, pairs, heatmaps = small.encode(samples), small.encode(samples, top=3), small.heatmap(samples)
    assert pairs.shape == (5, 2, 3)
    np.testing.assert_allclose(pairs[:, 1], -np.sort(-latents, axis=1)[:, :3])
    decoded = small.decode(pairs)
    assert ((decoded > 0).sum(axis=(1, 2, 3)) <= 3).all()
    np.testing.assert_allclose(heatmaps.mean(axis=(1, 2)), small.reconstruct(samples).error, rtol=1e-4)
    assert small.heatmap(picture(samples[0, :, :, 0]))[:4] == b"\x89PNG"
    monkeypatch.setattr(autoencoder, "MAX_REQUEST_SAMPLES", 2)
    np.testing.assert_array_equal(small.decode(pairs), decoded)
    np.testing.assert_array_equal(small.heatmap(samples), heatmaps)
    with pytest.raises(ServiceProblem, match="scale"):
        small.encode(samples, scaled=True)
    with pytest.raises(ServiceProblem, match="scale"):
        small.decode(latents, scaled=True)
