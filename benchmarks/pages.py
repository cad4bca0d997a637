"""`python -m benchmarks.pages`: how well a package cleans real pages, beside classical methods, through the service.

page -> method (untouched | dividing | Sauvola | non-local means | unpaper | the package over HTTP) -> measure by task

The pages are a folder with `pages.tsv` (columns id, file, task, category, truth, language). Tasks:

- `bin`: a binary truth. Otsu's threshold of the result against the truth: F-measure, precision and recall of ink in
  percent, PSNR in dB; means over pages, as the DIBCO competitions report them.
- `text`: the true text. Character error rate (edit distance over the length of the text, blanks left out) and the share
  of words found, by Tesseract 5 with the page's language; means over pages, in percent.
- `fields`: a photographed receipt with key fields. Share of the fields' values found in Tesseract's text, in percent.
- `born`: a born-digital page that must not change. PSNR against the page itself in dB, mean and worst.
- `look`: no truth; contact sheets only (page | result | dividing), with `--sheets FOLDER`.
- `office`: the validation split of NoisyOffice, root mean squared error of pixels in 0..1.
- `strokes`: synthetic strokes by width, grey level and blur; the share of their contrast that the package keeps.

`text` and `fields` need tesseract with the pages' languages (`apt-get install tesseract-ocr tesseract-ocr-frk ...`),
the column unpaper needs unpaper. What is not installed is named and left out.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from service.client import Client
from training.data.datasets import find_path
from training.synthetic_pages import noisyoffice

Image = NDArray[np.uint8]  # [H,W] grey, or [H,W,3] in OpenCV's order BGR
Method = Callable[["Page"], Image]
Report = dict[str, dict[str, dict[str, float]]]  # group -> method -> measure -> value
TASKS = ("bin", "text", "fields", "born", "look", "office", "strokes")
PACKAGE = "the package"
WORKERS = 2
IDENTICAL = 99.0  # dB; the PSNR of two equal pages
SHEET_HEIGHT = 900  # pixels


@dataclass(frozen=True)
class Page:
    """One page with its task; `truth` is None where the task has none."""

    id: str
    path: Path
    task: str
    category: str
    truth: Path | None
    language: str

    @property
    def image(self) -> Image:
        """Grey [H,W] if the file is grey, else [H,W,3]; alpha over white."""
        return read_image(self.path)


def read_pages(folder: Path) -> list[Page]:
    """The rows of `pages.tsv`."""
    with (folder / "pages.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return [
        Page(
            row["id"], folder / row["file"], row["task"], row["category"],
            folder / row["truth"] if row["truth"] else None, row["language"] or "eng",
        )
        for row in rows
    ]  # fmt: skip


def read_image(path: Path) -> Image:
    image = decode_image(path.read_bytes())
    if image is None:
        raise ValueError(f"{path} cannot be read as an image")
    return image


def decode_image(data: bytes) -> Image:
    """Bytes of an image file -> uint8 [H,W] or [H,W,3]; 16 bits become 8, alpha is laid over white."""
    image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image.dtype == np.uint16:
        image = (image // 257).astype(np.uint8)
    if image.ndim == 3 and image.shape[2] == 4:
        alpha = image[..., 3:].astype(np.float32) / 255
        image = np.rint(image[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return np.asarray(image, np.uint8)


def to_grey(image: Image) -> Image:
    return image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)


# --- methods -------------------------------------------------------------------------------------------------


def divide_by_background(page: Page) -> Image:
    """Grey page over its background, a median of 1/30 of the page's shorter side, at least 21 pixels."""
    grey = to_grey(page.image)
    scale = min(1.0, 800 / max(grey.shape))  # the background is smooth: it is computed on a small page
    small = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    size = max(21, min(small.shape) // 15) | 1
    background = cv2.resize(cv2.medianBlur(small, size), grey.shape[::-1], interpolation=cv2.INTER_LINEAR)
    quotient = grey.astype(np.float32) * 255 / np.maximum(background.astype(np.float32), 1)
    return np.clip(np.rint(quotient), 0, 255).astype(np.uint8)


def binarize_sauvola(page: Page, window: int = 51, k: float = 0.2) -> Image:
    """J. Sauvola, M. Pietikäinen, "Adaptive document image binarization", Pattern Recognition 33 (2000)."""
    grey = to_grey(page.image).astype(np.float32)
    mean = cv2.boxFilter(grey, cv2.CV_32F, (window, window))
    deviation = np.sqrt(np.maximum(cv2.boxFilter(grey * grey, cv2.CV_32F, (window, window)) - mean * mean, 0))
    return np.where(grey > mean * (1 + k * (deviation / 128 - 1)), 255, 0).astype(np.uint8)


def filter_non_local_means(page: Page) -> Image:
    return np.asarray(cv2.fastNlMeansDenoising(to_grey(page.image), None, 12, 7, 21), np.uint8)


def run_unpaper(page: Page) -> Image:
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "page.pgm"), Path(folder, "clean.pgm")
        cv2.imwrite(str(source), to_grey(page.image))
        command = ["unpaper", "--no-deskew", "--no-border-align", "--overwrite", str(source), str(target)]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
        return to_grey(read_image(target))


def baselines() -> dict[str, Method]:
    """Methods without the package, by name."""
    methods: dict[str, Method] = {
        "untouched": lambda page: page.image,
        "dividing": divide_by_background,
        "Sauvola": binarize_sauvola,
        "non-local means": filter_non_local_means,
    }
    if shutil.which("unpaper") is None:
        print("unpaper is not installed: its column is left out")
    else:
        methods["unpaper"] = run_unpaper
    return methods


@contextmanager
def run_service(package: Path) -> Iterator[Client]:
    """A client of a service that runs the models folder of `package`."""
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--models", str(package.parents[1].absolute())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            if server.stdout is None:
                raise AssertionError("This is a bug: the service has a pipe")
            url = next(word for word in server.stdout.readline().split() if word.startswith("http"))
            with Client(url, timeout=600) as client:
                yield client
        finally:
            server.terminate()


# --- measures ------------------------------------------------------------------------------------------------


def measure_ink(result: Image, truth: Image) -> dict[str, float]:
    """F-measure, precision, recall in percent and PSNR in dB of Otsu's threshold; ink is black (0) in `truth`."""
    _, binary = cv2.threshold(to_grey(result), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    ink, true_ink = binary < 128, to_grey(truth) < 128
    hits = float((ink & true_ink).sum())
    precision, recall = hits / max(1.0, float(ink.sum())), hits / max(1.0, float(true_ink.sum()))
    f_measure = 2 * precision * recall / max(precision + recall, 1e-9)
    wrong_share = max(float((ink != true_ink).mean()), 1e-9)
    return {
        "F": 100 * f_measure, "precision": 100 * precision, "recall": 100 * recall,
        "PSNR": -10 * float(np.log10(wrong_share)),
    }  # fmt: skip


def measure_psnr(result: Image, original: Image) -> float:
    """dB; both are compared in colour if one of them has any."""
    images = [np.dstack([i] * 3) if i.ndim == 2 else i for i in (result, original)]
    error = float(np.mean((images[0].astype(np.float64) - images[1]) ** 2))
    return IDENTICAL if error == 0 else min(IDENTICAL, 10 * float(np.log10(255**2 / error)))


def read_text(image: Image, language: str) -> str:
    """Tesseract's text of a page, automatic segmentation."""
    _, png = cv2.imencode(".png", image)
    command = ["tesseract", "-", "-", "--psm", "3", "-l", language]
    environment = {**os.environ, "OMP_THREAD_LIMIT": "1"}
    done = subprocess.run(command, input=png.tobytes(), capture_output=True, check=True, env=environment)
    return done.stdout.decode("utf-8", "replace")


def measure_text(text: str, truth: str) -> dict[str, float]:
    """Character error rate and share of words found, both in percent."""
    read, true = ("".join(t.split()) for t in (text, truth))
    words, true_words = set(text.split()), truth.split()
    return {
        "CER": 100 * edit_distance(read, true) / max(1, len(true)),
        "words": 100 * sum(word in words for word in true_words) / max(1, len(true_words)),
    }


def edit_distance(left: str, right: str) -> int:
    """Levenshtein's, a row of numpy for each letter of `left`."""
    letters = np.array([ord(letter) for letter in right], np.int64)
    offsets = np.arange(len(right) + 1)
    row = offsets.copy()
    for index, letter in enumerate(left, 1):
        replaced = row[:-1] + (letters != ord(letter))
        best = np.concatenate([[index], np.minimum(replaced, row[1:] + 1)])
        row = np.minimum.accumulate(best - offsets) + offsets
    return int(row[-1])


def measure_fields(text: str, fields: dict[str, str]) -> dict[str, float]:
    """Share of the fields' values that stand in the text, in percent; blanks and case do not count."""
    squeezed = "".join(text.split()).casefold()
    return {"fields": 100 * fmean("".join(value.split()).casefold() in squeezed for value in fields.values())}


# --- tasks ---------------------------------------------------------------------------------------------------


def measure_page(page: Page, result: Image) -> dict[str, float]:
    if page.task == "born":
        return {"PSNR": measure_psnr(result, page.image)}
    if page.truth is None:
        return {}
    if page.task == "bin":
        return measure_ink(result, read_image(page.truth))
    text = read_text(result, page.language)
    truth = page.truth.read_text(encoding="utf-8")
    return measure_text(text, truth) if page.task == "text" else measure_fields(text, json.loads(truth))


def run_task(pages: Sequence[Page], methods: dict[str, Method]) -> dict[str, dict[str, dict[str, float]]]:
    """page id -> method -> measure -> value; two pages at a time."""

    def measure_all(page: Page) -> dict[str, dict[str, float]]:
        return {name: measure_page(page, method(page)) for name, method in methods.items()}

    with ThreadPoolExecutor(WORKERS) as pool:
        return dict(zip([page.id for page in pages], pool.map(measure_all, pages), strict=True))


def print_table(title: str, by_page: dict[str, dict[str, dict[str, float]]], methods: Sequence[str]) -> None:
    measures = list(next(iter(by_page.values()))[methods[0]])
    print(f"\n{title}, {len(by_page)} pages\n| |{'|'.join(f' {m} ' for m in measures)}| worst {measures[0]} |")
    print("|---" * (len(measures) + 2) + "|")
    for method in methods:
        values = {m: [of_page[method][m] for of_page in by_page.values()] for m in measures}
        worst = max(values[measures[0]]) if measures[0] == "CER" else min(values[measures[0]])
        print(f"| {method} |" + "".join(f" {fmean(values[m]):.1f} |" for m in measures) + f" {worst:.1f} |", flush=True)


def measure_office(denoise: Callable[[Image], Image]) -> float:
    """Root mean squared error on NoisyOffice's validation split, pixels in 0..1; root of the mean over pages."""
    pairs = noisyoffice.load(find_path("noisy-office"), "val")
    errors = [np.mean((denoise(pair.noisy).astype(np.float64) - pair.clean) ** 2) / 255**2 for pair in pairs]
    return float(np.sqrt(np.mean(errors)))


def measure_strokes(denoise: Callable[[Image], Image]) -> dict[str, float]:
    """(width in px, grey level, blur in px) -> share of the contrast kept in percent, at the strokes' centres."""
    shares = {}
    for width in (2, 6, 16, 40):
        for level in (20, 100, 160, 200):
            for blur in (0.0, 1.0, 3.0):
                page = np.full((512, 512), 235, np.uint8)
                centres = range(64, 512, 64 + width)
                for x in centres:
                    page[32:-32, x - width // 2 : x - width // 2 + width] = level
                if blur:
                    page = np.asarray(cv2.GaussianBlur(page, (0, 0), blur), np.uint8)
                result = denoise(page)
                before = float(np.mean([235.0 - page[64:-64, x] for x in centres]))
                after = float(np.mean([result[64:-64, x + width // 2 + 16].astype(float).mean() for x in centres]))
                after -= float(np.mean([result[64:-64, x].astype(float) for x in centres]))
                shares[f"width {width}, level {level}, blur {blur:g}"] = 100 * after / before
    return shares


def write_sheet(page: Page, result: Image, folder: Path) -> None:
    """Page, result and dividing side by side."""
    parts = []
    for image in (page.image, result, divide_by_background(page)):
        colour = np.dstack([image] * 3) if image.ndim == 2 else image
        scale = SHEET_HEIGHT / colour.shape[0]
        parts.append(cv2.resize(colour, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
    cv2.imwrite(str(folder / f"{page.id}.jpg"), np.hstack(parts), [cv2.IMWRITE_JPEG_QUALITY, 85])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--package", type=Path, default=Path("models/pages/3"))
    parser.add_argument("--data", type=Path, help="the folder of pages (default: pages-wild in a data folder)")
    parser.add_argument("--tasks", default=",".join(TASKS), help="some of them, with commas between")
    parser.add_argument("--sheets", type=Path, help="write contact sheets of all pages into this folder")
    parser.add_argument("--only-package", action="store_true", help="leave out the baselines")
    parser.add_argument("--json", type=Path, help="also write all numbers here, page by page")
    options = parser.parse_args()
    tasks = options.tasks.split(",")
    pages = read_pages(options.data or find_path("pages-wild"))
    report: dict[str, Any] = {}
    if shutil.which("tesseract") is None and {"text", "fields"} & set(tasks):
        print("tesseract is not installed: text and fields are left out")
        tasks = [task for task in tasks if task not in ("text", "fields")]
    with run_service(options.package) as client:
        name, version = options.package.parent.name, int(options.package.name)

        def denoise_page(page: Page) -> Image:
            cleaned = client.denoise(name, page.path, version=version, media_type="image/png")
            return decode_image(cleaned)

        def denoise_array(image: Image) -> Image:
            _, png = cv2.imencode(".png", image)
            path = Path(folder, "page.png")
            path.write_bytes(png.tobytes())
            return to_grey(decode_image(client.denoise(name, path, version=version, media_type="image/png")))

        methods = {} if options.only_package else baselines()
        methods[PACKAGE] = denoise_page
        for task in tasks:
            of_task = [page for page in pages if page.task == task]
            if task == "born":
                report[task] = run_task(of_task, {PACKAGE: denoise_page})
                print_table(task, report[task], [PACKAGE])
            elif task in ("bin", "text", "fields"):
                report[task] = run_task(of_task, methods)
                print_table(task, report[task], list(methods))
                for group in dict.fromkeys(page.category for page in of_task) if task == "text" else ():
                    ids = {page.id for page in of_task if page.category == group}
                    print_table(f"{task}: {group}", {i: v for i, v in report[task].items() if i in ids}, list(methods))
            elif task in ("office", "strokes"):
                with tempfile.TemporaryDirectory() as folder:
                    measured = measure_office(denoise_array) if task == "office" else measure_strokes(denoise_array)
                report[task] = measured
                print(f"\n{task}: {json.dumps(measured, indent=1)}")
            if options.sheets and task in ("bin", "text", "fields", "born", "look"):
                options.sheets.mkdir(parents=True, exist_ok=True)
                for page in of_task:
                    write_sheet(page, denoise_page(page), options.sheets)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
