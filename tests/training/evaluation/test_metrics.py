import numpy as np
import pytest

from training.evaluation import metrics


def test_the_mean_squared_error_is_of_pixels_in_0_to_1_whatever_their_type() -> None:
    white, grey = np.full((2, 2, 1), 255, np.uint8), np.full((2, 2, 1), 0.5, np.float32)
    assert metrics.mse(white, grey) == pytest.approx(0.25)
    assert metrics.mse(grey, white) == pytest.approx(0.25)


def test_psnr_of_an_exact_sample_is_finite() -> None:
    assert metrics.psnr(np.array([0.0])) == 100
    assert metrics.psnr(np.array([0.01, 0.0001])) == pytest.approx(30)
    assert metrics.psnr([0.0, 0.0001], limit=60) == pytest.approx(50)
