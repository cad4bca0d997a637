import numpy as np
import pytest

from tests.training.restoration import build_recipe
from training import train_denoiser
from training.data.patches import EvaluationImage
from training.evaluation import denoisers


def test_restoring_takes_any_size_and_noise_has_its_sigma() -> None:
    denoiser = train_denoiser.build(build_recipe("x"))
    for height, width in ((1, 1), (1, 37), (13, 7), (32, 32)):
        image = np.full((height, width, 1), 200, np.uint8)
        assert denoisers.restore(denoiser, image).shape == (height, width, 1)
    flat_image = EvaluationImage("one", "all", np.full((300, 300, 3), 128, np.uint8))
    for sigma, noisy in zip(denoisers.SIGMAS, denoisers.noisy_versions(flat_image), strict=True):
        assert float((noisy * 255).std()) == pytest.approx(sigma, rel=0.01)
        assert np.array_equal(noisy, denoisers.noisy_versions(flat_image)[denoisers.SIGMAS.index(sigma)])
