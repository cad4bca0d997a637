"""No result depends on the unit or the offset of a column."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.architectures.standardization import Standardization, measure_units

VECTORS = np.random.default_rng(0).standard_normal((200, 3)) * [1, 20, 0.3] + [0, 5, -2]


@given(
    factor=st.floats(1e-12, 1e12),
    offset=st.floats(-1e6, 1e6),
    column=st.integers(0, 2),
)
@settings(max_examples=60, deadline=None)
def test_unit_and_offset_of_a_column_change_nothing(factor: float, offset: float, column: int) -> None:
    changed = VECTORS.copy()
    changed[:, column] = (changed[:, column] + offset) * factor
    expected, actual = (Standardization(x)(torch.from_numpy(x)) for x in (VECTORS, changed))
    np.testing.assert_allclose(actual.numpy(), expected.numpy(), atol=2e-8)


@pytest.mark.parametrize("value", [0.0, 0.1, -273.15, 1e300, 1e-300])
@pytest.mark.parametrize("noise", [0, 1])
def test_a_column_that_is_constant_but_for_rounding_is_0_inside_and_comes_back(value: float, noise: int) -> None:
    vectors = VECTORS.copy()
    vectors[:, 1] = value
    if noise:
        vectors[::3, 1] = np.nextafter(value, np.inf)
    scaling = Standardization(vectors)
    assert scaling.units.is_constant.tolist() == [False, True, False] or (value == 0 and noise == 1)
    inside = scaling(torch.from_numpy(vectors))
    assert torch.isfinite(inside).all()
    np.testing.assert_allclose(scaling.inverse(inside).numpy(), vectors, rtol=1e-6, atol=1e-300)


def test_columns_of_extreme_units_are_measured() -> None:
    for factor in (1e-140, 1e-60, 1e60, 1e200):
        units = measure_units(VECTORS * factor)
        np.testing.assert_allclose(units.deviation / factor, VECTORS.std(0), rtol=1e-9)


def test_the_graph_computes_in_float64_where_float32_would_keep_nothing() -> None:
    vectors = 1e6 + VECTORS * 1e-3
    standard = Standardization(vectors)(torch.from_numpy(vectors)).numpy()
    np.testing.assert_allclose(standard, (VECTORS - VECTORS.mean(0)) / VECTORS.std(0), atol=1e-5)
    assert standard.dtype == np.float32
