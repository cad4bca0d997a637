import numpy as np
import pytest

from training.data.patches import EvaluationImage
from training.evaluation import photographs
from training.evaluation.denoisers import to_uint8


def images(count: int = 3) -> list[EvaluationImage]:
    rng = np.random.default_rng(0)
    coarse = rng.integers(40, 220, (count, 25, 30, 3), dtype=np.uint8)
    return [EvaluationImage(f"p{n}", "all", image.repeat(8, 0).repeat(8, 1)) for n, image in enumerate(coarse)]


def test_every_photograph_has_each_kind_of_noise_and_the_same_one_each_time() -> None:
    first, second = photographs.make_pairs(images()), photographs.make_pairs(images())
    kinds = ["clean", "gaussian-15", "gaussian-25", "gaussian-50", "jpeg-10", "jpeg-20", "jpeg-40", "camera"]
    assert [pair.kind for pair in first] == kinds * 3
    for pair, again in zip(first, second, strict=True):
        assert np.array_equal(pair.noisy, again.noisy)
        assert pair.clean.shape == pair.noisy.shape == (192, 192, 3)
    assert len(photographs.make_pairs(images(100))) == 8 * 20, "at most 24 of them"


def test_what_changes_nothing_has_no_gain_and_what_knows_all_has_a_large_one() -> None:
    pairs = photographs.make_pairs(images())
    idle = photographs.validate(lambda noisy: noisy, pairs)
    assert idle.camera_ratio == pytest.approx(1)
    assert idle.restored == idle.noisy
    assert idle.restored["gaussian-25"] == pytest.approx(20 * np.log10(255 / 25), abs=0.1)
    assert idle.restored["clean"] == photographs.CLEAN_LIMIT
    answers = iter([pair.clean for pair in pairs])
    perfect = photographs.validate(lambda _: next(answers), pairs)
    assert perfect.camera_ratio < 1e-3
    assert perfect.error < 0.01 < idle.error
    assert "camera" in str(idle)
    assert "JPEG 10/20/40: +0.00 / +0.00 / +0.00 dB" in str(idle)


def test_gaussian_camera_and_jpeg_noise_count_alike() -> None:
    kinds = {
        "clean": 40.0,
        "gaussian-15": 30.0,
        "gaussian-25": 30.0,
        "gaussian-50": 30.0,
        "camera": 20.0,
        "jpeg-10": 40.0,
    }
    validation = photographs.Validation(kinds, kinds, 1.0)
    assert validation.error == pytest.approx(10 ** (-30 / 20))


def test_small_photographs_are_used_as_they_are() -> None:
    small = [EvaluationImage("small", "all", images(1)[0].clean[:40, :50])]
    assert {to_uint8(pair.noisy).shape for pair in photographs.make_pairs(small)} == {(40, 40, 3)}
