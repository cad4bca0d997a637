"""`python -m benchmarks.denoising`: time and PSNR beside OpenCV's non-local means and the package bm3d, same pictures.

One process, all cores each, methods in turns, medians of several rounds. Non-local means and BM3D are told the noise's
strength; the packages are not. Ours runs as in the service: tiles side by side, one thread each, or a single tile with
all cores. Also one A4 page at 300 dpi (2480 x 3508, grey) through HTTP.

BM3D needs `pip install bm3d` (Mäkinen, Azzari and Foi, IEEE TIP 29, 2020); without it, and above 0.3 megapixel, where
it takes minutes, its rows are left out.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from service.imaging.picture import Picture
from service.inference import tiled
from service.model.package import read
from service.model.runtime import Model
from service.settings import Settings
from training.data.datasets import find_path
from training.data.files.image_folder import list_files
from training.synthetic_pages import noisyoffice

Image = NDArray[np.uint8]  # [H,W,C]
SIGMA = 25
ROUNDS = 5
CORES = len(os.sched_getaffinity(0))


def ours(model: Model, pool: ThreadPoolExecutor, tile: int) -> Callable[[Image], Image]:
    def denoise(image: Image) -> Image:
        output = np.empty_like(image)
        tasks = tiled.plan_tasks(model, Picture(image), output, tile)
        alone = len(tasks) == 1
        list(pool.map(lambda task: tiled.denoise(model, 1.0, 1 << 30, [task], use_all_cores=alone), tasks))
        return output

    return denoise


def both(package: Path, pool: ThreadPoolExecutor, tile: int) -> dict[str, Callable[[Image], Image]]:
    """As the service would run it here; and in floats, if that is another graph."""
    opened = read(package)
    served = Model(opened, "cpu", CORES)
    methods = {"ours": ours(served, pool, tile)}
    if served.precision != "fp32":
        methods["ours in floats"] = ours(Model(opened, "cpu", CORES, precision="fp32"), pool, tile)
    return methods


def non_local_means(image: Image) -> Image:
    if image.shape[2] == 1:
        return np.asarray(cv2.fastNlMeansDenoising(image[..., 0], None, SIGMA * 0.8, 7, 21), np.uint8)[..., None]
    return np.asarray(cv2.fastNlMeansDenoisingColored(image, None, SIGMA * 0.8, SIGMA * 0.8, 7, 21), np.uint8)


def bm3d() -> Callable[[Image], Image] | None:
    try:
        import bm3d
    except ImportError:
        print("bm3d is not installed: its rows are left out")
        return None

    def denoise(image: Image) -> Image:
        pixels = image.astype(np.float32) / 255
        if image.shape[2] == 1:
            clean = bm3d.bm3d(pixels[..., 0], SIGMA / 255)[..., None]
        else:
            clean = bm3d.bm3d_rgb(pixels, SIGMA / 255)
        return np.asarray(np.rint(np.clip(clean, 0, 1) * 255), np.uint8)

    return denoise


def psnr(image: Image, clean: Image) -> float:
    return float(10 * np.log10(255**2 / max(1e-6, np.mean((image.astype(float) - clean.astype(float)) ** 2))))


def photographs(size: tuple[int, int], channels: int) -> Image:
    """CBSD68's pictures beside each other until [H,W,C] is full."""
    files = list_files(find_path("eval_photos/CBSD68")).pictures
    read_as = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
    loaded = [cv2.imread(str(file), read_as) for file in files]
    pictures = [np.atleast_3d(p[:321, :321]) for p in loaded if p is not None]
    rows, columns = -(-size[0] // 321), -(-size[1] // 321)
    cells = [
        np.concatenate([pictures[(r * columns + c) % len(pictures)] for c in range(columns)], 1) for r in range(rows)
    ]
    return np.ascontiguousarray(np.concatenate(cells, 0)[: size[0], : size[1]])


def noisy(clean: Image) -> Image:
    noise = np.random.default_rng(0).normal(0, SIGMA, clean.shape)
    return np.rint(np.clip(clean + noise, 0, 255)).astype(np.uint8)


def row(title: str, clean: Image, given: Image, methods: dict[str, Callable[[Image], Image]]) -> dict[str, object]:
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    quality = {}
    for number in range(ROUNDS):
        for name, method in methods.items():
            if name == "bm3d" and number:
                continue
            started = time.perf_counter()
            output = method(given)
            seconds[name].append(time.perf_counter() - started)
            quality[name] = psnr(output, clean)
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    for name, median in medians.items():
        ratio = median / medians["ours"]
        print(f"{title:28}{name:18}{median:>10.3f} s{ratio:>9.2f} x ours{quality[name]:>9.2f} dB")
    return {"picture": title, "seconds": medians, "psnr": quality}


def a4(package: Path, rounds: int = 3) -> float:
    """Median seconds of an A4 page through HTTP, PNG in and out."""
    pair = noisyoffice.load(find_path("noisy-office"), "test")[0]
    page = np.tile(pair.noisy, (14, 5))[:3508, :2480]
    _, png = cv2.imencode(".png", page)
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--models", str(package.parents[1])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            url = next(word for word in server.stdout.readline().split() if word.startswith("http"))
            target = f"{url.rstrip('/')}/v1/models/{package.parent.name}/denoise"
            times = []
            for _ in range(rounds):
                request = urllib.request.Request(target, png.tobytes(), {"Content-Type": "image/png"})
                started = time.perf_counter()
                with urllib.request.urlopen(request, timeout=300) as answer:
                    answer.read()
                times.append(time.perf_counter() - started)
        finally:
            server.terminate()
    return statistics.median(times)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pages", type=Path, default=Path("models/pages/3"))
    parser.add_argument("--photos", type=Path, default=Path("models/photos/3"))
    parser.add_argument("--tile", type=int, default=Settings().tile)
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    asked = parser.parse_args()
    cv2.setNumThreads(CORES)
    report: list[dict[str, object]] = []
    with ThreadPoolExecutor(CORES) as pool:
        if asked.photos.is_dir():
            mine = both(asked.photos, pool, asked.tile)
            slow = bm3d()
            for height, width in ((256, 256), (512, 512), (1024, 1024), (2048, 2048)):
                methods = {**mine, "non-local means": non_local_means}
                if slow is not None and height * width <= 300_000:
                    methods["bm3d"] = slow
                clean = photographs((height, width), 3)
                report.append(row(f"photos {width}x{height}, colour", clean, noisy(clean), methods))
        if asked.pages.is_dir():
            mine = both(asked.pages, pool, asked.tile)
            pair = noisyoffice.load(find_path("noisy-office"), "test")[20]
            for across, down in ((1, 1), (4, 5)):
                clean, given = (np.tile(p, (down, across))[..., None] for p in (pair.clean, pair.noisy))
                title = f"pages {clean.shape[1]}x{clean.shape[0]}"
                report.append(row(title, clean, given, {**mine, "non-local means": non_local_means}))
    if asked.pages.is_dir():
        seconds = a4(asked.pages)
        print(f"{'A4, 300 dpi, through HTTP':28}{'ours':18}{seconds:>10.3f} s")
        report.append({"picture": "A4 through HTTP", "seconds": {"ours": seconds}})
    if asked.json:
        asked.json.write_text(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
