"""Working memory of runs on whole images."""

from itertools import pairwise

from tests.service import packages as doubles
from training.importing.probes.memory import FIRST_SIDE, MAX_BYTES, MAX_SECONDS, Limits, measure_memory


def test_memory_is_measured_up_to_the_size_that_is_stated() -> None:
    graph = doubles.denoiser_graphs()["denoiser"].SerializeToString()
    pairs = measure_memory([graph], 4, 60_000, "negative")
    assert [pixels for pixels, _ in pairs] == [FIRST_SIDE**2, 192**2, 244**2]  # 244: the largest multiple of 4
    assert all(a < b for old, new in pairwise(pairs) for a, b in zip(old, new, strict=True))


def test_a_stated_size_may_take_longer_and_more() -> None:
    assert (Limits.choose(None).bytes, Limits.choose(None).seconds) == (MAX_BYTES, MAX_SECONDS)
    assert Limits.choose(1_000_000).seconds > MAX_SECONDS
    assert Limits.choose(1_000_000).bytes >= MAX_BYTES
