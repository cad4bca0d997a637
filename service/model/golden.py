"""The golden pair: a small input of each graph, and what the graph answered when it was exported.

export: graphs -> create -> golden.npz (its digest in the manifest)        before serving: golden.npz -> verify

A digest says that the bytes are those that were written; the pair says that they still compute the same, here: on
this processor, with this onnxruntime, on this provider. golden.npz holds plain arrays `<role>.input` and
`<role>.output`, not compressed, nothing pickled.
"""

import io
import math
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.model.errors import GoldenMismatch
from service.model.manifest import Golden, Role
from service.model.package import Package, sha256
from service.model.runtime import Model

FILE = "golden.npz"
SIDE = 32  # pixels along free sides
FEW = 1 << 15  # numbers in all samples: of larger ones, one is enough
MOST = (
    16  # samples: with two, one in two hundred graphs with a wrong byte answered well enough (tests/abuse/mutants.py)
)
ELSEWHERE = 4  # times the tolerance on other providers than the CPU: they compute in bfloat16, TF32
OUTLIERS, FARTHEST = 0.01, 8  # this part of whole numbers may be that many times as far

Array = NDArray[Any]


def create(package: Package) -> tuple[Golden, bytes]:
    """What the package's own graphs answer now, on the CPU, to seeded noise and, for small images, a ramp."""
    model = Model(package, "cpu", precision="fp32")
    arrays: dict[str, Array] = {}
    generator = np.random.default_rng(0)
    latent: Array | None = None
    for role in sorted(set(package.graphs) - {"denoiser-int8"}, reverse=True):  # the encoder before the decoder
        given = latent if role == "decoder" and latent is not None else _drawn(model.typical(role, SIDE), generator)
        arrays[f"{role}.input"], arrays[f"{role}.output"] = given, model.run_graph(role, given)
        latent = arrays[f"{role}.output"] if role == "encoder" else latent
    if "denoiser-int8" in package.graphs:
        given = arrays["denoiser.input"]
        arrays["denoiser-int8.input"] = given
        arrays["denoiser-int8.output"] = Model(package, "cpu", precision="int8").run_graph("denoiser", given)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # numpy's own stub: the names are ours
    return Golden(file=FILE, sha256=sha256(buffer.getvalue())), buffer.getvalue()


def verify(package: Package, model: Model) -> None:
    """The model, opened from that package, answers each golden input as it did at export.

    A package without a golden file passes. Raises GoldenMismatch (PackageError), ModelFailed.
    """
    golden = package.manifest.golden
    if golden is None or package.golden is None:
        return
    where = f"{package.manifest.name}/{package.manifest.version}/{golden.file}"
    arrays = _read(package.golden, where)
    slack = 1 if model.provider == "cpu" else ELSEWHERE
    for role in model.providers:
        stored: Role = "denoiser-int8" if role == "denoiser" and model.precision == "int8" else role
        try:
            given, wanted = arrays[f"{stored}.input"], arrays[f"{stored}.output"]
        except KeyError as missing:
            raise GoldenMismatch(f"{where} holds nothing for the graph {stored}") from missing
        typical = model.typical(role, SIDE)
        if given.dtype != typical.dtype or given.ndim != typical.ndim:
            raise GoldenMismatch(f"{where}: {stored}.input is {given.dtype} of rank {given.ndim}, not as its port is")
        found = model.run_graph(role, given)
        difference = _difference(found, wanted, golden, slack)
        if difference is not None:
            raise GoldenMismatch(
                f"{package.manifest.name}/{package.manifest.version}: its {stored} on {model.provider} does not answer "
                f"its golden input as it did when it was exported: {difference}"
            )


def _read(data: bytes, where: str) -> dict[str, Array]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in file.infolist()):
                raise GoldenMismatch(f"{where} is compressed; it must not be")
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return {name: np.asarray(file[name]) for name in file.files}
    except (ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile, NotImplementedError) as broken:
        raise GoldenMismatch(f"{where} is not an uncompressed .npz of plain arrays") from broken


def _difference(found: Array, wanted: Array, golden: Golden, slack: int) -> str | None:
    """What is wrong, None if nothing is."""
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        return f"{found.dtype} {list(found.shape)} instead of {wanted.dtype} {list(wanted.shape)}"
    apart = np.abs(found.astype(np.float64) - wanted.astype(np.float64))
    worst = float(apart.max(initial=0))
    if found.dtype.kind in "iu":
        limit = golden.grey_levels * slack
        if worst <= FARTHEST * limit and float(np.mean(apart > limit)) <= OUTLIERS:
            return None
        return f"up to {worst:.0f} grey levels away, {limit} are allowed"
    limit_of_floats = golden.relative * slack * float(np.abs(wanted).max(initial=0))
    if worst <= limit_of_floats:  # NaN is not
        return None
    return f"up to {worst:.3g} away, {limit_of_floats:.3g} is allowed"


def _drawn(typical: Array, generator: np.random.Generator) -> Array:
    """Of one sample's shape: noise, as many as are small together; the last of several images is a ramp."""
    shape = typical.shape[1:]
    count = min(MOST, FEW // math.prod(shape)) or 1
    if typical.dtype != np.uint8:
        return generator.standard_normal((count, *shape)).astype(typical.dtype)
    drawn = generator.integers(0, 256, (count, *shape), np.uint8)
    if count > 1:
        drawn[-1] = np.linspace(0, 255, math.prod(shape)).reshape(shape).astype(np.uint8)
    return drawn
