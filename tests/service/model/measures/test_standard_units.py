import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.model.manifest import Column
from service.model.measures.standard_units import CHANGE, StandardUnits


def test_differences_are_in_deviations() -> None:
    units = StandardUnits.of_columns([Column(mean=1e6, deviation=1e-3), Column(mean=0, deviation=1e9)])
    batch, output = np.array([[1e6 + 2e-3, 3e9]]), np.array([[1e6, 0.0]])
    np.testing.assert_allclose(units.differences(batch, output), [[2, 3]], rtol=1e-6)


@given(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12))
@example(0.0, 1.169225802561702e-307)
@example(0.0, 5e-324)
@settings(deadline=None)
def test_a_change_of_a_constant_counts_the_same_however_large_it_is(constant: float, value: float) -> None:
    units = StandardUnits(np.array([constant]), np.array([0.0]))
    difference = abs(float(units.differences(np.array([[value]]), np.array([[constant]]))[0, 0]))
    if value == constant:
        assert difference == 0
    elif abs(value - constant) >= 1e-3 * abs(constant):
        assert difference == CHANGE
    else:
        assert difference <= CHANGE


def test_a_constant_that_was_rounded_to_float32_is_no_change() -> None:
    units = StandardUnits(np.array([0.1, -273.15]), np.zeros(2))
    rounded = units.mean.astype(np.float32)[None]
    assert float(np.abs(units.differences(rounded, units.mean[None])).max()) < 0.01


def test_standardising_and_back_is_the_identity_but_for_constants() -> None:
    units = StandardUnits(np.array([5.0, 7.0]), np.array([2.0, 0.0]))
    assert units.standardize(np.array([[9.0, 100.0]])).tolist() == [[2, 0]]
    assert units.restore(np.array([[2.0, 3.0]])).tolist() == [[9, 7]]
    assert units.is_constant.tolist() == [False, True]


def test_a_deviation_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        Column(mean=0, deviation=-1)
