"""The floor of work: decode, run, encode in a loop, no server; as many side by side as there are cores.

Threads and batch are the best of those tried. What a server adds to it is its own.
"""

import io
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.serving.rows import Row
from service.codecs import arrays, images
from service.imaging.picture import Picture
from service.model.providers import open_session


def rate(row: Row, cores: int, seconds: float) -> float:
    """Requests a second, the best of one run with all cores, or one thread in each of as many runs as cores."""
    return max(_rate(row, threads, cores // threads, seconds) for threads in {1, cores})


def _rate(row: Row, threads: int, beside: int, seconds: float) -> float:
    work = _work(row, threads)
    work()
    until = time.perf_counter() + seconds
    counts = [0] * beside

    def loop(number: int) -> None:
        while time.perf_counter() < until:
            work()
            counts[number] += 1

    workers = [threading.Thread(target=loop, args=(n,)) for n in range(beside)]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(counts) / (time.perf_counter() - started)


def _work(row: Row, threads: int) -> Callable[[], object]:
    session = open_session((Path(row.package) / row.graph).read_bytes(), "cpu", threads, required=False)
    name = session.get_inputs()[0].name

    def run(batch: np.ndarray) -> np.ndarray:
        return np.asarray(session.run(None, {name: batch})[0])

    body, kind = row.load.body, row.load.content_type
    if kind == "application/x-npy":
        batch = arrays.read_npy(body, "body")
        return lambda: run(batch)
    if kind == "application/json":
        return lambda: arrays.write_json(
            {"latents": run(arrays.read_numbers(arrays.parse_json(body)["inputs"], "it").astype(np.uint8))}
        )
    header = images.inspect(body, 10**9, "it")

    def picture() -> object:
        (decoded,) = images.decode(body, header, "it")
        if row.load.accept == "image/png":
            return images.encode(Picture(tiled(run, decoded.pixels)), "image/png")
        return arrays.write_json({"latents": run(decoded.pixels[None])})

    return picture


def tiled(run: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray, side: int = 512) -> np.ndarray:
    """In squares without a halo: less than the real work."""
    output = np.empty_like(pixels)
    for y in range(0, pixels.shape[0], side):
        for x in range(0, pixels.shape[1], side):
            output[y : y + side, x : x + side] = run(np.ascontiguousarray(pixels[None, y : y + side, x : x + side]))[0]
    return output


def npy_bytes(output: np.ndarray) -> int:
    """Length of an answer as .npy."""
    buffer = io.BytesIO()
    np.save(buffer, output)
    return len(buffer.getvalue())
