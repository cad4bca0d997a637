from functools import cache

import numpy as np
import pytest

from tests.training.synthetic_pages import office
from tests.training.synthetic_pages.test_scenes import photographs, small_pool
from training.synthetic_pages.noisyoffice import PagePair
from training.synthetic_pages.sampler import CORPUS_SHARES, PageSampler, to_channels


@cache
def corpus() -> tuple[PagePair, ...]:
    return tuple(office.draw_corpus())


def make_sampler(channels: int = 3, scans: tuple[PagePair, ...] | None = None) -> PageSampler:
    scans = corpus() if scans is None else scans
    return PageSampler(small_pool(), photographs(), scans, count=20, size=64, channels=channels)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_generator_draws_the_same_pair_again(channels: int) -> None:
    sampler = make_sampler(channels)
    for seed in range(12):
        clean, noisy = sampler.draw(np.random.default_rng(seed))
        again = sampler.draw(np.random.default_rng(seed))
        assert clean.shape == noisy.shape == (64, 64, channels)
        assert clean.dtype == noisy.dtype == np.uint8
        assert np.array_equal(clean, again[0])
        assert np.array_equal(noisy, again[1])


def test_the_corpus_has_its_share_and_is_grey() -> None:
    sampler = make_sampler()
    kinds = [sampler._choose_kind(np.random.default_rng(seed)) for seed in range(2000)]
    for kind, share in CORPUS_SHARES.items():
        assert kinds.count(kind) / 2000 == pytest.approx(share, abs=0.03)
    for seed, kind in enumerate(kinds[:60]):
        clean, noisy = sampler.draw(np.random.default_rng(seed))
        if kind != "scene":
            assert (clean == clean[..., :1]).all()
            assert (noisy == noisy[..., :1]).all()


def test_without_the_corpus_all_pairs_are_scenes() -> None:
    sampler = make_sampler(scans=())
    assert sampler.draw(np.random.default_rng(0))[0].shape == (64, 64, 3)


def test_the_digest_depends_on_what_is_drawn_from() -> None:
    assert make_sampler().digest == make_sampler().digest
    assert len({make_sampler().digest, make_sampler(1).digest, make_sampler(3, ()).digest}) == 3


def test_colour_becomes_luma_and_grey_becomes_colour() -> None:
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 255
    assert to_channels(red, 1).tolist() == [[[76], [76]], [[76], [76]]]
    assert to_channels(red[..., 0], 3).shape == (2, 2, 3)
