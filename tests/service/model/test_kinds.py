"""The table of kinds: what each offers, and the graphs that it needs."""

from typing import get_args

import pytest

from service.model.kinds import KINDS
from service.model.manifest import Kind, Operation, Role


def test_every_kind_is_in_the_table_and_knows_the_graphs_of_every_operation() -> None:
    assert set(KINDS) == set(get_args(Kind))
    for spec in KINDS.values():
        assert set(spec.graphs) == set(get_args(Operation))
        assert spec.default_operation in spec.operations


@pytest.mark.parametrize(
    ("kind", "operation", "roles", "graphs"),
    [
        ("stacked", "encode", ("encoder", "decoder"), ("encoder",)),
        ("stacked", "reconstruct", ("encoder",), ("encoder", "decoder")),
        ("stacked", "denoise", ("encoder", "decoder"), ("denoiser",)),
        ("variational", "sample", ("encoder", "decoder"), ("decoder",)),
        ("denoising", "denoise", ("denoiser",), ("denoiser",)),
        ("denoising", "denoise", ("encoder", "decoder"), ("encoder", "decoder")),
        ("denoising", "denoise", ("encoder",), ("encoder", "decoder")),
    ],
)
def test_an_operation_needs_the_graphs_of_its_kind(
    kind: Kind, operation: Operation, roles: tuple[Role, ...], graphs: tuple[Role, ...]
) -> None:
    assert KINDS[kind].required_graphs(operation, roles) == graphs
