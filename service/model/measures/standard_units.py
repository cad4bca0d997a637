"""Standard units: how far apart two vectors are, in standard deviations of the training data.

columns of the manifest -> StandardUnits -> differences [N,D] -> reconstruction error, heatmap

No result depends on the unit or the offset of a column. A column that was constant in training has no deviation: there
a change counts as CHANGE deviations, however large it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from service.model.manifest import Column

Floats = NDArray[np.float64]

CHANGE = 10.0  # deviations, of a number that was constant in training and is another now
ROUNDING = 1e-5  # share of a constant by which a number may differ and still be that constant; float32 rounds by 6e-8


@dataclass(frozen=True, eq=False)
class StandardUnits:
    """`mean` and `deviation` float64 [D] of each number over the train split; a deviation of 0: it was constant."""

    mean: Floats
    deviation: Floats

    @classmethod
    def of_columns(cls, columns: Sequence[Column]) -> "StandardUnits":
        """Those of a manifest."""
        return cls(
            np.array([column.mean for column in columns], np.float64),
            np.array([column.deviation for column in columns], np.float64),
        )

    @cached_property
    def is_constant(self) -> NDArray[np.bool_]:
        """bool [D]."""
        return np.asarray(self.deviation == 0)

    def standardize(self, vectors: NDArray[np.floating]) -> Floats:
        """[N,D] -> deviations from the mean, float64 [N,D]; 0 for constants."""
        scale = np.where(self.is_constant, np.inf, self.deviation)
        return np.asarray((vectors.astype(np.float64) - self.mean) / scale)

    def restore(self, standard: Floats) -> Floats:
        """The inverse of `standardize`, float64 [N,D]; constants are their value."""
        return np.asarray(standard * self.deviation + self.mean)

    @cached_property
    def _scale(self) -> Floats:
        """What a difference is divided by: the deviation; of a constant, what its numbers may be rounded by, 0 of 0."""
        return np.where(self.is_constant, ROUNDING * np.abs(self.mean), self.deviation)

    def differences(self, batch: NDArray[np.floating], output: NDArray[np.floating]) -> Floats:
        """batch - output, each [N,D], in deviations, float64 [N,D]."""
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # changes of constants, which are cut below
            differences = (batch.astype(np.float64) - output.astype(np.float64)) / self._scale
        if self.is_constant.any():
            changes = np.nan_to_num(differences[:, self.is_constant], nan=0.0)  # 0 / 0: none of a constant 0
            differences[:, self.is_constant] = changes.clip(-CHANGE, CHANGE)
        return np.asarray(differences)
