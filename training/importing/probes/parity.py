"""Parity of a package with the graphs as they were given: on samples or noise, or nothing is written.

samples -> package, opened as the service opens it -> outputs;  the same -> given graph, arithmetic in numpy -> compared

Allowed are one grey level for pixels, 0.1 % of the largest magnitude for other numbers.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.model import package as packages
from service.model.files.image_samples import ServiceError
from service.model.manifest import Manifest, Role
from service.model.providers import SessionFailed
from service.model.runtime import Model
from training.errors import ImportRefused, ParityError

Array = NDArray[Any]

GREY_LEVELS = 1
RELATIVE = 1e-3


def compare(actual: Array, expected: Array, name: str) -> float:
    """The largest difference: of uint8 in grey levels, else as a share of the largest magnitude.

    Raises:
        ParityError: it is too large; the sentence says where they part.
    """
    if actual.shape != expected.shape:
        raise ParityError(
            f"{name}: the package answers {list(actual.shape)}, the given graph {list(expected.shape)}; "
            "no package was written"
        )
    is_pixels = actual.dtype == np.uint8
    differences = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
    magnitude = 1.0 if is_pixels else max(float(np.abs(expected).max(initial=0)), 1e-12)
    largest = float(differences.max(initial=0)) / magnitude
    limit = GREY_LEVELS if is_pixels else RELATIVE
    if not largest <= limit:
        place = [int(axis) for axis in np.unravel_index(np.nan_to_num(differences, nan=np.inf).argmax(), actual.shape)]
        unit = "grey levels" if is_pixels else "of the largest magnitude"
        raise ParityError(
            f"{name}: the package and the given graph differ by {largest:.3g} {unit}, most at {place} "
            f"({actual[tuple(place)]:.6g} instead of {expected[tuple(place)]:.6g}); at most {limit:g} is allowed, "
            "no package was written"
        )
    return largest


def open_model(facts: Manifest, graphs: dict[Role, bytes]) -> Model:
    """The package's graphs, verified and opened as the service opens them; ImportRefused if onnxruntime does not."""
    try:
        return Model(packages.verify(facts, graphs, label=facts.key), "cpu", precision="fp32")
    except SessionFailed as failure:
        raise ImportRefused(
            f"the graphs of {facts.name} are not opened by onnxruntime once they are wrapped ({failure}); export the "
            "model again, with torch.onnx.export(..., dynamo=True), for example"
        ) from failure


def check_start(model: Model) -> None:
    """ImportRefused if the service would not serve the model: it runs each graph on zeros first, as black pictures."""
    try:
        model.warm_up()
    except ServiceError as failure:
        raise ImportRefused(
            f"the service would refuse it, since it runs each graph on zeros first: {failure.detail}; where the "
            "model divides by a norm or a deviation, add a small number to it"
        ) from failure
