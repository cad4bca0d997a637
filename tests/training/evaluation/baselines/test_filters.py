import cv2
import numpy as np

from training.evaluation.baselines import filters
from training.evaluation.metrics import mse


def noisy_pairs(channels: int) -> list[tuple[filters.Image, filters.Image]]:
    """(noisy, clean) uint8 [24,24,C], with gaussian noise of 40 of 255."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(40, 216, (6, 4, 4, 3)).astype(np.uint8)
    clean = np.stack([cv2.resize(image, (24, 24)) for image in coarse])[..., :channels]
    noisy = np.clip(clean + rng.normal(0, 40, clean.shape), 0, 255).astype(np.uint8)
    return list(zip(noisy, clean, strict=True))


def test_the_filter_of_the_least_error_is_chosen() -> None:
    pairs = noisy_pairs(1)
    best = filters.choose_filter(filters.NON_LOCAL_MEANS, pairs)
    errors = [np.mean([mse(f(noisy), clean) for noisy, clean in pairs]) for f in filters.NON_LOCAL_MEANS]
    assert best is filters.NON_LOCAL_MEANS[int(np.argmin(errors))]
    assert min(errors) < 0.5 * np.mean([mse(noisy, clean) for noisy, clean in pairs])
    assert filters.choose_filter(filters.MEDIANS, []) is filters.MEDIANS[0]


def test_colour_is_filtered_in_colour_and_grey_stays_grey() -> None:
    for channels in (1, 3):
        noisy, clean = noisy_pairs(channels)[0]
        for apply in (filters.MEDIANS[0], filters.non_local_means_candidates(40)[2]):
            output = apply(noisy)
            assert output.shape == clean.shape
            assert output.dtype == np.uint8
            assert mse(output, clean) < mse(noisy, clean)
    grey = np.repeat(noisy_pairs(1)[0][0], 3, axis=2)
    assert filters.is_grey(filters.non_local_means(grey, 40))
    assert not filters.is_grey(noisy_pairs(3)[0][0])


def test_filters_of_pages_remove_a_shadow_and_keep_the_ink() -> None:
    clean = np.full((64, 64, 1), 255, np.uint8)
    cv2.putText(clean, "ink", (4, 40), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 0, 1)
    shadow = np.linspace(0.5, 0.9, 64)[None, :, None]
    noisy = (clean * shadow).astype(np.uint8)
    for name in ("median background, divided", "median background, threshold", "adaptive threshold"):
        apply = filters.choose_filter(filters.PAGE_FILTERS[name], [(noisy, clean)])
        output = apply(noisy)
        assert output.shape == clean.shape
        assert mse(output, clean) < 0.5 * mse(noisy, clean)
        assert output[clean < 50].mean() < 100
