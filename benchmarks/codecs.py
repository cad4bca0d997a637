"""`python -m benchmarks.codecs`: time and size of reading and writing pictures, library beside library.

One megapixel of a page (grey, as `pages` returns it) and of a photograph (RGB), one thread, methods in turns, medians.
Ours is service.codecs.images, which is libvips; what else a library must keep (16-bit colour, profiles, text, pages of
a TIFF) is in docs/decisions.md.
"""

import io
import statistics
import sys
import time
from collections.abc import Callable, Mapping

import cv2
import numpy as np
from PIL import Image as Pillow

from benchmarks.serving.rows import scene
from service.codecs import arrays, images
from service.imaging.picture import Picture

SIDE, ROUNDS = 1024, 7
Array = np.ndarray


def page() -> Array:
    """uint8 [H,W,1]: white, with lines of strokes."""
    rng = np.random.default_rng(0)
    sheet = np.full((SIDE, SIDE), 255, np.uint8)
    for top in range(30, SIDE - 30, 28):
        for left in range(40, SIDE - 60, 14):
            right = left + int(rng.integers(3, 11))
            first, last = top + rng.integers(0, 14, 2)
            cv2.line(sheet, (left, int(first)), (right, int(last)), int(rng.integers(60)), 2, cv2.LINE_AA)
    return sheet[..., None]


def writers(pixels: Array, kind: str) -> dict[str, Callable[[], bytes]]:
    bare = pixels.squeeze()
    suffix = "." + kind
    bgr = bare if bare.ndim == 2 else bare[..., ::-1].copy()

    def pillow() -> bytes:
        buffer = io.BytesIO()
        Pillow.fromarray(bare).save(buffer, kind.upper().replace("JPG", "JPEG"))
        return buffer.getvalue()

    found: dict[str, Callable[[], bytes]] = {
        "ours": lambda: images.encode(Picture(pixels), f"image/{kind.replace('jpg', 'jpeg')}"),
        "OpenCV": lambda: cv2.imencode(suffix, bgr)[1].tobytes(),
    }
    if pixels.dtype == np.uint8 or pixels.shape[2] == 1:  # Pillow has no 16-bit colour
        found["Pillow"] = pillow
    return found


def readers(data: bytes) -> dict[str, Callable[[], Array]]:
    header = images.inspect(data, 10**9, "it")
    return {
        "ours": lambda: np.asarray(images.decode(data, header, "it")[0].pixels),
        "OpenCV": lambda: np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)),
        "Pillow": lambda: np.asarray(Pillow.open(io.BytesIO(data))),
    }


def milliseconds(methods: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(ROUNDS):
        for name, method in methods.items():
            started = time.perf_counter()
            method()
            times[name].append((time.perf_counter() - started) * 1e3)
    return {name: statistics.median(found) for name, found in times.items()}


def main() -> int:
    cv2.setNumThreads(1)
    photo = scene(SIDE, SIDE, 3)
    pictures = {
        "page, grey": page(),
        "photograph, RGB": photo,
        "page, 16-bit grey": page().astype(np.uint16) * 257,
        "photograph, 16-bit RGB": photo.astype(np.uint16) * 257,
    }
    print(
        f"{'1 megapixel, ms':26}{'format':8}{'':8}"
        + "".join(f"{name:>10}" for name in ("ours", "OpenCV", "Pillow"))
        + f"{'KiB (ours, OpenCV, Pillow)':>30}"
    )
    for name, pixels in pictures.items():
        for kind in ("png", "jpg", "webp") if pixels.dtype == np.uint8 else ("png",):
            methods = writers(pixels, kind)
            sizes = {method: len(write()) >> 10 for method, write in methods.items()}
            for verb, found in (("write", milliseconds(methods)), ("read", milliseconds(readers(methods["ours"]())))):
                if "Pillow" not in methods:
                    found.pop("Pillow", None)
                cells = "".join(
                    f"{found[m]:10.1f}" if m in found else f"{'-':>10}" for m in ("ours", "OpenCV", "Pillow")
                )
                told = (
                    ", ".join(str(sizes.get(m, "-")) for m in ("ours", "OpenCV", "Pillow")) if verb == "write" else ""
                )
                print(f"{name:26}{kind:8}{verb:8}{cells}{told:>30}")
    rng = np.random.default_rng(0)
    batch = rng.integers(0, 256, (256, 28, 28, 1), np.uint8)
    data = arrays.write_npy(batch)
    found = milliseconds({"ours": lambda: arrays.read_npy(data, "it"), "numpy": lambda: np.load(io.BytesIO(data))})
    print(f".npy, 256 of 28x28, read: ours {found['ours']:.3f} ms, numpy.load {found['numpy']:.3f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
