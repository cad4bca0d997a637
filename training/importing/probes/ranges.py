"""Range of a graph's pixels, found by running pictures through: the one in which what comes out is closest.

pictures -> each range of input and output -> graph -> pixels -> error beside the clean pictures -> the least
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.importing.probes.pixel_format import RANGES, Range

Array = NDArray[Any]

TIE = 0.98  # another range must leave less than this share of the error of one that stands before it
MIXED = 0.5  # and one whose input and output differ less than this, unless the user has named one of them
MIN_CORRELATION = 0.6  # of a picture that comes out with the one that went in
MAX_SHARE = 0.8  # of the picture's variance in its error: a grey surface has all of it, however well it correlates


@dataclass(frozen=True)
class Trial:
    """What came out with one range of input and of output.

    Args:
        output: float64 [N,H,W,C] of 0..255.
        error: mean squared error, in grey levels.
        correlation: with the expected pictures.
        share: of the expected pictures' variance that is in the error.
    """

    source: Range
    target: Range
    output: Array
    error: float
    correlation: float
    share: float

    @property
    def psnr(self) -> float:
        """dB, of the mean error."""
        return float(10 * np.log10(255**2 / max(self.error, 1e-6)))

    @property
    def name(self) -> str:
        return self.source.name if self.source == self.target else f"{self.source.name} -> {self.target.name}"

    @property
    def is_picture(self) -> bool:
        return self.correlation >= MIN_CORRELATION and self.share <= MAX_SHARE

    def describe(self) -> str:
        low, high = np.percentile(self.output, (1, 99)) if np.isfinite(self.output).all() else (np.nan, np.nan)
        return (
            f"with range {self.name} its pixels lie in {low:.0f}..{high:.0f} of 255, their correlation with the "
            f"picture is {self.correlation:.2f}, its error {self.share:.0%} of that of a grey surface"
        )


def try_ranges(
    run: Callable[[Range, Range], Array | str],
    expected: Array,
    sources: Sequence[Range],
    targets: Sequence[Range],
) -> list[Trial]:
    """All pairs of ranges in which the graph answers, the best first.

    Args:
        run: (range of input, of output) -> pixels float64 [N,H,W,C] of 0..255, neither clipped nor rounded.
        expected: uint8 [N,H,W,C].
    """
    trials = []
    for source in sources:
        for target in targets:
            output = run(source, target)
            if isinstance(output, str) or output.shape != expected.shape:
                continue
            trials.append(_measure(source, target, output, expected))
    trials.sort(key=lambda trial: trial.source != trial.target)  # equal ranges first
    is_choice = len(sources) > 1 and len(targets) > 1
    best: Trial | None = None
    for trial in trials:
        share = MIXED if is_choice and best is not None and trial.source != trial.target else TIE
        if best is None or trial.error < share * best.error:
            best = trial
    return sorted(trials, key=lambda trial: (trial is not best, trial.error))


def _measure(source: Range, target: Range, output: Array, expected: Array) -> Trial:
    clipped = np.nan_to_num(output, nan=0, posinf=255, neginf=0).clip(0, 255)
    difference = clipped - expected
    a, b = clipped - clipped.mean(), expected - expected.mean()
    norm = float(np.sqrt((a**2).sum() * (b**2).sum()))
    correlation = float((a * b).sum()) / norm if norm > 0 else 0.0
    error, variance = float((difference**2).mean()), float(expected.var())
    return Trial(source, target, output, error, correlation, error / max(variance, 1e-6))


def all_ranges(channels: int) -> tuple[Range, ...]:
    """Those that are tried; ImageNet's only in colour."""
    return tuple(r for r in RANGES.values() if channels == 3 or len(r.mean) == 1)
