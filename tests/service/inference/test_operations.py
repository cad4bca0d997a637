"""The table of operations agrees with what packages can offer and with what the functions return."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from service.inference.operations import OPERATIONS, port_of
from service.model.manifest import Operation
from service.model.package import read
from service.model.runtime import Model, Reconstruction
from tests.service import packages as doubles


def test_every_operation_has_one_entry() -> None:
    assert tuple(OPERATIONS) == get_args(Operation)


@pytest.mark.parametrize("operation", get_args(Operation))
def test_functions_take_and_return_what_the_table_says(models: Path, tmp_path: Path, operation: Operation) -> None:
    offered = get_args(Operation)
    drawer: tuple[Operation, ...] = tuple(name for name in offered if name != "denoise")
    doubles.write(tmp_path, "drawer", doubles.image_graphs(), kind="variational", operations=drawer)
    package = {"denoise": models / "negative", "sample": tmp_path / "drawer"}.get(operation, models / "small")
    model, spec = Model(read(package / "1")), OPERATIONS[operation]
    port = port_of(model, spec.input)
    assert port == model.input_port(operation)
    shape = [axis if isinstance(axis, int) else 8 for axis in port.shape[1:]]
    result = spec.function(model, np.zeros((2, *shape), port.dtype))
    assert isinstance(result, Reconstruction) == spec.returns_errors
    outputs = (result.output, result.error, result.percentile) if isinstance(result, Reconstruction) else (result,)
    assert len(outputs) == len(spec.outputs)
    for output, description in zip(outputs, spec.outputs, strict=True):
        assert len(output) == 2
        if description.port is None:
            assert output.dtype == np.float64
            assert output.ndim == 1
        else:
            assert output.dtype == port_of(model, description.port).dtype
            assert output.ndim == len(port_of(model, description.port).shape)
    assert spec.returns_latents == (operation == "encode")
    assert spec.takes_latents == (operation in ("decode", "sample"))
    assert spec.takes_pages(model) == (operation == "denoise")


def test_no_two_outputs_of_an_operation_share_a_name() -> None:
    for spec in OPERATIONS.values():
        names = [output.name or output.port for output in spec.outputs]
        assert len(set(names)) == len(names)
