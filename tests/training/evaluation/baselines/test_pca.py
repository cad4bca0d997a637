import numpy as np
import pytest

from tests.drawings import drawings, waves
from training.evaluation.baselines import pca

IMAGES = drawings(300)[..., None]
TRAIN, TEST = IMAGES[:200], IMAGES[200:]


def fitted(train: np.ndarray, count: int) -> pca.Components:
    components = pca.fit(train, count)
    assert components is not None
    return components


@pytest.mark.parametrize("samples", [IMAGES, waves(300), waves(300, length=400)], ids=["images", "tall", "wide"])
def test_the_errors_are_those_of_the_reconstructions(samples: np.ndarray) -> None:
    components = fitted(samples[:200], 9)
    errors = components.errors(samples[200:])
    for count in range(10):
        difference = pca.scale_samples(samples[200:], components.units) - components.reconstruct(samples[200:], count)
        assert errors[count] == pytest.approx(np.mean(difference**2), abs=1e-12)


def test_projections_have_the_variance_of_the_first_axes() -> None:
    variances = fitted(TRAIN, 5).project(TRAIN, 3).var(0)
    expected = np.linalg.eigvalsh(np.cov(pca.scale_samples(TRAIN).T, bias=True))[::-1][:3]
    np.testing.assert_allclose(variances, expected)


def test_the_curve_falls_from_1_to_all_components() -> None:
    curve = pca.error_curve(fitted(TRAIN, 100), TEST)
    sizes, errors = zip(*curve, strict=True)
    assert sizes[0] == 1
    assert sizes[-1] == 100
    assert len(curve) <= pca.MAX_POINTS
    assert list(errors) == sorted(errors, reverse=True)


def test_as_many_components_as_numbers_say_nothing() -> None:
    assert pca.fit(TRAIN, 144) is None
    assert pca.fit(TRAIN[:20], 20) is None
