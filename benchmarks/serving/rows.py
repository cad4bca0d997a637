"""What is asked: rows of the table, each a package, a request, and the work alone without any server (the floor)."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.serving import sparse_model
from benchmarks.serving.load import Load
from service.codecs import images
from service.imaging.picture import Picture

SPARSE = "sparse features 16k of 2304"
CATS, PHOTOS, PAGES = Path("models/cats-stacked/1"), Path("models/photos/3"), Path("models/pages/3")


@dataclass(frozen=True)
class Row:
    """One kind of request.

    Args:
        graph: file of the package that peers run; the one that our service chooses on this machine.
        clients: concurrencies.
        samples: in one request.
        numbers: in the answer for one sample, float32.
    """

    name: str
    package: Path
    graph: str
    load: Load
    clients: tuple[int, ...] = (1, 16, 64)
    samples: int = 1
    numbers: int = 32


def rows(chosen: Callable[[Path, str], str]) -> list[Row]:
    """`chosen(package, operation)` names the graph file that our service runs there."""
    rng = np.random.default_rng(0)
    drawings = rng.integers(0, 256, (256, 28, 28, 1), np.uint8)
    encode, photo, page = (
        f"/v1/models/{package.parent.name}/{operation}"
        for package, operation in ((CATS, "encode"), (PHOTOS, "denoise"), (PAGES, "denoise"))
    )
    graph = chosen(CATS, "encode")
    npy, png = "application/x-npy", "image/png"
    sparse = []
    if sparse_model.PACKAGE.exists():
        vector = rng.standard_normal((1, sparse_model.NUMBERS), np.float32)
        features = chosen(sparse_model.PACKAGE, "encode")
        sparse = [
            Row(f"{SPARSE}, .npy{name}", sparse_model.PACKAGE, features,
                Load(f"/v1/models/sae/encode{query}", _npy(vector), npy, npy), (1, 16), 1, numbers)
            for name, query, numbers in (("", "", sparse_model.FEATURES), (", largest 32", "?top=32", 64))
        ]  # fmt: skip
    return [
        Row("encode 28x28, .npy", CATS, graph, Load(encode, _npy(drawings[:1]), npy, npy)),
        Row("encode 28x28, JSON", CATS, graph, Load(encode, _json(drawings[:1]), "application/json")),
        Row("encode 28x28, PNG", CATS, graph, Load(encode, _png(drawings[0]), png, "application/json")),
        Row("encode 256 of 28x28, .npy", CATS, graph, Load(encode, _npy(drawings), npy, npy), (1, 16, 64), 256),
        Row("denoise 256x256, PNG", PHOTOS, chosen(PHOTOS, "denoise"), Load(photo, _png(scene(256, 256, 3)), png, png)),
        Row("denoise 4 megapixel, PNG", PAGES, chosen(PAGES, "denoise"),
            Load(page, _png(scene(2048, 2048, 1)), png, png), (1, 4)),
        *sparse,
    ]  # fmt: skip


def scene(height: int, width: int, channels: int) -> np.ndarray:
    """uint8 [H,W,C]: shapes and noise, as hard to compress as a scan or a photograph."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:height, :width]
    shapes = 128 + 60 * np.sin(x / 23) * np.cos(y / 17) + 50 * ((x // 40 + y // 40) % 2)
    noise = rng.normal(0, 12, (height, width, channels))
    return np.asarray((shapes[..., None] + noise).clip(0, 255), np.uint8)


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _json(array: np.ndarray) -> bytes:
    return json.dumps({"inputs": array.tolist()}).encode()


def _png(pixels: np.ndarray) -> bytes:
    return images.encode(Picture(pixels), "image/png")
