"""Golden file: a small input of each graph, and the graph's output when it was exported.

export: graphs -> create -> golden.npz (its digest in the manifest)        before serving: golden.npz -> verify

A digest shows that the bytes are unchanged; the golden pair shows that they still compute the same on this processor,
with this onnxruntime and this provider. golden.npz holds the arrays `<role>.input` and `<role>.output`, neither
compressed nor pickled.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.model.errors import GoldenMismatch
from service.model.files.array_files import read_arrays, to_bytes
from service.model.manifest import Golden, Role
from service.model.measures.standard_units import StandardUnits
from service.model.package import Package, sha256
from service.model.runtime import Model

FILE_NAME = "golden.npz"
SIDE = 32  # pixels along free sides
MAX_NUMBERS = 1 << 15  # numbers in all samples; of larger samples, one is enough
# with two samples, one in two hundred graphs with a wrong byte answered well enough (tests/abuse/mutants.py)
MAX_SAMPLES = 16
NON_CPU_FACTOR = 4  # of the tolerance on providers other than the CPU, which compute in bfloat16 or TF32
OUTLIER_SHARE, MAX_FACTOR = 0.01, 8  # that share of whole numbers may differ by so many times the tolerance

Array = NDArray[Any]


def create(package: Package) -> tuple[Golden, bytes]:
    """The outputs of the package's graphs, on the CPU, for seeded noise and, for small images, a ramp."""
    model = Model(package, "cpu", precision="fp32")
    arrays: dict[str, Array] = {}
    generator = np.random.default_rng(0)
    latent: Array | None = None
    for role in sorted(set(package.graphs) - {"denoiser-int8"}, reverse=True):  # the encoder before the decoder
        graph_input = (
            latent
            if role == "decoder" and latent is not None
            else _make_golden_input(model.make_input(role, SIDE), generator, model.units)
        )
        arrays[f"{role}.input"], arrays[f"{role}.output"] = graph_input, model.run_graph(role, graph_input)
        latent = arrays[f"{role}.output"] if role == "encoder" else latent
    if "denoiser-int8" in package.graphs:
        graph_input = arrays["denoiser.input"]
        arrays["denoiser-int8.input"] = graph_input
        arrays["denoiser-int8.output"] = Model(package, "cpu", precision="int8").run_graph("denoiser", graph_input)
    data = to_bytes(arrays)
    return Golden(file=FILE_NAME, sha256=sha256(data)), data


def verify(package: Package, model: Model) -> None:
    """Check that the model, opened from that package, answers each golden input as it did at export.

    A package without a golden file passes. Raises GoldenMismatch (PackageError), ModelFailed.
    """
    golden = package.manifest.golden
    if golden is None or package.golden is None:
        return
    label = f"{package.manifest.key}/{golden.file}"
    arrays = _read(package.golden, label)
    factor = 1 if model.provider == "cpu" else NON_CPU_FACTOR
    for role in model.providers:
        stored_role: Role = "denoiser-int8" if role == "denoiser" and model.precision == "int8" else role
        try:
            graph_input, expected = arrays[f"{stored_role}.input"], arrays[f"{stored_role}.output"]
        except KeyError as error:
            raise GoldenMismatch(f"{label} holds nothing for the graph {stored_role}") from error
        template = model.make_input(role, SIDE)
        if graph_input.dtype != template.dtype or graph_input.ndim != template.ndim:
            raise GoldenMismatch(
                f"{label}: {stored_role}.input is {graph_input.dtype} of rank {graph_input.ndim}, not as its port is"
            )
        output = model.run_graph(role, graph_input)
        if model.units is not None and role == "decoder" and output.shape == expected.shape:
            output, expected = model.units.standardize(output), model.units.standardize(expected)
        difference = _describe_difference(output, expected, golden, factor)
        if difference is not None:
            raise GoldenMismatch(
                f"{package.manifest.key}: its {stored_role} on {model.provider} does not "
                f"answer its golden input as it did when it was exported: {difference}"
            )


def _read(data: bytes, label: str) -> dict[str, Array]:
    try:
        return read_arrays(data)
    except ValueError as error:
        raise GoldenMismatch(f"{label}: {error}") from error


def _describe_difference(actual: Array, expected: Array, golden: Golden, factor: int) -> str | None:
    """How the output differs by more than the tolerance times `factor`; None if it does not."""
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return f"{actual.dtype} {list(actual.shape)} instead of {expected.dtype} {list(expected.shape)}"
    distance = np.abs(actual.astype(np.float64) - expected.astype(np.float64))
    largest = float(distance.max(initial=0))
    if actual.dtype.kind in "iu":
        limit = golden.grey_levels * factor * (np.iinfo(actual.dtype).max // 255)  # a grey level is a 255th
        if largest <= MAX_FACTOR * limit and float(np.mean(distance > limit)) <= OUTLIER_SHARE:
            return None
        return f"up to {largest:.0f} grey levels away, {limit} are allowed"
    float_limit = golden.relative * factor * float(np.abs(expected).max(initial=0))
    if largest <= float_limit:  # NaN is not
        return None
    return f"up to {largest:.3g} away, {float_limit:.3g} is allowed"


def _make_golden_input(template: Array, generator: np.random.Generator, units: StandardUnits | None) -> Array:
    """Noise of the shape of `template` [1,...], up to MAX_SAMPLES of it; the last of several images is a ramp."""
    shape = template.shape[1:]
    count = min(MAX_SAMPLES, MAX_NUMBERS // math.prod(shape)) or 1
    if template.dtype.kind != "u":
        noise = generator.standard_normal((count, *shape))
        is_vector = units is not None and shape == units.mean.shape and template.dtype == np.float64
        return (units.restore(noise) if units is not None and is_vector else noise).astype(template.dtype)
    largest = np.iinfo(template.dtype).max
    samples = generator.integers(0, int(largest) + 1, (count, *shape), template.dtype)
    if count > 1:
        samples[-1] = np.linspace(0, largest, math.prod(shape)).reshape(shape).astype(template.dtype)
    return samples
