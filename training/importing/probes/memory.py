"""Working memory of runs on whole images, measured: each size in a process of its own, under a limit of memory.

graphs, sizes -> memory_process -> (pixels, bytes), rising, until a run is too large or too slow
"""

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.errors import ImportRefused

FIRST_SIDE = 128  # pixels; each further one is half as large again, and a half
MAX_BYTES = 4 << 30  # of one run
MAX_SECONDS = 30  # of one run
STATED_SECONDS = (
    600  # of one run, if the user states up to which size; then it may take most of the memory that is free
)
DEFAULT_MAX_PIXELS = 4_194_304  # 2048 x 2048


@dataclass(frozen=True)
class Limits:
    """Of the measurement: pixels of an image; bytes and seconds of one run."""

    pixels: int
    bytes: int
    seconds: float

    @classmethod
    def choose(cls, max_pixels: int | None) -> "Limits":
        """Those for the size that the user states, or the usual ones."""
        if max_pixels is None:
            return cls(DEFAULT_MAX_PIXELS, MAX_BYTES, MAX_SECONDS)
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
        return cls(max_pixels, max(MAX_BYTES, free * 3 // 4), STATED_SECONDS)


def measure_memory(
    graphs: Sequence[bytes], stride: int, max_pixels: int | None, label: str
) -> tuple[tuple[int, int], ...]:
    """Rising pairs of pixels and bytes that a run of the graphs, one behind the other, takes at most.

    Args:
        graphs: the first takes `image` uint8 [N,H,W,C], or `latent` float32 [N,...].
        max_pixels: sizes are tried up to this one, as the user states it; None: as far as that is quick.
    Raises:
        ImportRefused: not even the smallest size runs.
    """
    limits = Limits.choose(max_pixels)
    pairs: list[tuple[int, int]] = []
    side = max(stride, FIRST_SIDE // stride * stride)
    with tempfile.TemporaryDirectory(prefix="import-") as folder:
        files = [Path(folder) / f"{index}.onnx" for index in range(len(graphs))]
        for file, graph in zip(files, graphs, strict=True):
            file.write_bytes(graph)
        while not pairs or side * side <= limits.pixels:
            measured = _measure_one(files, side, stride, limits)
            if measured is None:
                break
            size, seconds = measured
            pairs.append((side * side, max([size, *(size + 1 for _, size in pairs)])))
            if max_pixels is None and (
                seconds > MAX_SECONDS / 3 or size > MAX_BYTES / 3
            ):  # the next would be too slow, or too large
                break
            following = max(side + stride, side * 3 // 2 // stride * stride)
            largest = math.isqrt(limits.pixels) // stride * stride
            side = largest if side < largest < following else following
    if not pairs:
        raise ImportRefused(
            f"{label} needs more than {limits.bytes >> 30} GB or {limits.seconds:.0f} s for an image of {side}x{side}; "
            "force tiles with --halo 32"
        )
    return tuple(pairs)


def _measure_one(files: Sequence[Path], side: int, stride: int, limits: Limits) -> tuple[int, float] | None:
    """(bytes, seconds) of one run on an image of side x side; None if it fails or takes too much."""
    program = "training.importing.probes.memory_process"
    command = [sys.executable, "-m", program, str(side), str(stride), str(limits.bytes), *map(str, files)]
    root = str(Path(__file__).parents[3])
    path = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH")) if p)
    try:
        done = subprocess.run(  # noqa: S603  (this program itself)
            command, capture_output=True, text=True, check=False, timeout=limits.seconds + 30,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        return None
    document = json.loads(done.stdout)
    return int(document["bytes"]), float(document["seconds"])
