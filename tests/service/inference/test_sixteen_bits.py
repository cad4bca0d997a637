"""Denoisers of 16 bits: nothing is cut to 8 on the way, and pictures of 8 bits work with them too."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from service.autoencoder import Autoencoder
from service.model import golden, package
from service.model.errors import PortsMismatch
from service.model.graph import verify_graph
from service.model.runtime import Model
from tests.service import packages


@pytest.fixture(scope="module", params=[1, 3])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Autoencoder]:
    models = tmp_path_factory.mktemp("models")
    packages.write(
        models, "negative", packages.denoiser_graphs(request.param, 16), kind="denoising", operations=("denoise",),
        reconstruction_error_quantiles=None, halo=0,
    )  # fmt: skip
    with Autoencoder(models / "negative", provider="cpu") as opened:
        yield opened


def read(data: bytes) -> NDArray[np.uint16]:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))


def write(pixels: NDArray[np.uint16]) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def test_every_one_of_65536_levels_comes_back_as_the_model_answers_it(model: Autoencoder) -> None:
    pixels = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
    assert (read(model.denoise(write(pixels))) == 65_535 - pixels).all()
    assert (model.denoise(pixels).reshape(pixels.shape) == 65_535 - pixels).all(), "an array as well"
    half = model.denoise(pixels, strength=0.5)
    assert np.abs(half.astype(int) - 32_767).max() <= 1


def test_twelve_bits_in_sixteen_keep_their_white(model: Autoencoder) -> None:
    pixels = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    assert np.abs(read(model.denoise(write(pixels))).astype(int) - (4095 - pixels.astype(int))).max() <= 1


def test_pictures_of_8_bits_and_floats_are_denoised_in_16(model: Autoencoder) -> None:
    eight = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert (model.denoise(eight).reshape(eight.shape) == 255 - eight).all()
    floats = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    np.testing.assert_allclose(model.denoise(floats).reshape(floats.shape), 1 - floats, atol=2e-5)


def test_a_model_with_a_latent_must_not_have_16_bits(tmp_path: Path) -> None:
    graphs = packages.denoiser_graphs(1, 16)
    loaded = package.read(
        packages.write(
            tmp_path, "fine", graphs, kind="denoising", operations=("denoise",), reconstruction_error_quantiles=None
        )
    )
    _, data = golden.create(loaded)
    assert data
    assert Model(loaded, "cpu").precision == "fp32"
    encoder = packages.image_graphs()["encoder"]
    encoder.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT16
    with pytest.raises(PortsMismatch, match="only a denoiser of one graph may have 16 bits"):
        verify_graph("encoder", encoder.SerializeToString(), packages.OPSET, "wrong")
