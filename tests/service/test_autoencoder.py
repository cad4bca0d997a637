"""Autoencoder: a package in this process answers as the service does, for any number of samples."""

import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from service import autoencoder
from service.autoencoder import Autoencoder
from service.client import ServiceProblem
from service.model.errors import PackageError
from tests.service.http import picture, url

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
