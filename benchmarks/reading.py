"""`python -m benchmarks.reading`: do cleaned pages read better? Character error rates of OCR engines.

pages (NoisyOffice test; own held-out pages) -> noisy | cleaned | clean -> OCR -> characters wrong, per kind of dirt

The character error rate is the edit distance between what an engine reads and the true text, blanks left out, over the
length of the true text. The gap closed is (noisy - cleaned) / (noisy - clean). The true text of NoisyOffice's test
pages was read off the clean pages once (noisy-office-test.json: lines as far as they are on the page). Own pages are
set here in fonts and text of the split test, which training never sees. Pages are enlarged for the engines, all alike.

Needs tesseract (`apt-get install tesseract-ocr`); with `pip install rapidocr-onnxruntime` a second engine is asked too.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from benchmarks.pages import edit_distance
from service.model.package import read
from service.model.runtime import Model
from training.data.datasets import find_path
from training.synthetic_pages import noisyoffice
from training.synthetic_pages.degradation import degrade
from training.synthetic_pages.writing.fonts import FontBook
from training.synthetic_pages.writing.text import TextCorpus

Page = NDArray[np.uint8]  # [H,W]
Engine = Callable[[Page], str]
OWN = 40  # pages set here
ENLARGED = 2.5


@dataclass(frozen=True)
class Sample:
    group: str
    text: str
    noisy: Page
    clean: Page


def office() -> list[Sample]:
    texts: dict[str, list[str]] = json.loads((Path(__file__).parent / "noisy-office-test.json").read_text())
    pairs = noisyoffice.load(find_path("noisy-office"), "test")
    return [Sample(pair.noise, " ".join(texts[pair.id]), pair.noisy, pair.clean) for pair in pairs]


def own() -> list[Sample]:
    """Paragraphs in one Latin face of the split test each, 14 to 30 pixels high, degraded."""
    fonts, corpus = FontBook.installed("test"), TextCorpus("test")
    samples = []
    for number in range(OWN):
        rng = np.random.default_rng([77, number])
        face = fonts.choose(rng, "latin")
        font = face.font(int(rng.integers(16, 34)), "latin")
        sheet = Image.new("L", (700, 420), 255)
        draw, lines, y = ImageDraw.Draw(sheet), [], 20
        words = corpus.draw_words(rng, "latin", face, 400)
        while y < 370 and words:
            line = ""
            while words and font.getlength(f"{line} {words[0]}") < 650:
                line = f"{line} {words.pop(0)}".strip()
            if not line:
                words.pop(0)
                continue
            draw.text((24, y), line, int(rng.integers(0, 40)), font)
            lines.append(line)
            y += int(font.size * 1.4)
        clean = np.asarray(sheet)
        samples.append(Sample("own pages", " ".join(lines), degrade(clean, rng), clean))
    return samples


def tesseract(page: Page) -> str:
    _, png = cv2.imencode(".png", page)
    command = ["tesseract", "-", "-", "--psm", "6", "-l", "eng"]
    alone = {**os.environ, "OMP_THREAD_LIMIT": "1"}
    return subprocess.run(command, input=png.tobytes(), capture_output=True, check=True, env=alone).stdout.decode()


def engines() -> dict[str, Engine]:
    if shutil.which("tesseract") is None:
        sys.exit("tesseract is not installed: apt-get install tesseract-ocr")
    found: dict[str, Engine] = {"tesseract": tesseract}
    try:
        from rapidocr_onnxruntime import RapidOCR
    except ImportError:
        print("rapidocr-onnxruntime is not installed: skipped")
        return found
    reader = RapidOCR()

    def rapid(page: Page) -> str:
        result, _ = reader(cv2.cvtColor(page, cv2.COLOR_GRAY2BGR))
        lines = sorted(result or [], key=lambda line: (round(line[0][0][1] / 20), line[0][0][0]))
        return " ".join(line[1] for line in lines)

    return found | {"rapidocr": rapid}


def count_errors(read_text: str, text: str) -> tuple[int, int]:
    """(edit distance, length of the text), blanks left out."""
    read_letters, letters = ("".join(t.split()) for t in (read_text, text))
    return edit_distance(read_letters, letters), len(letters)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--package", type=Path, default=Path("models/pages/3"))
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    asked = parser.parse_args()
    model = Model(read(asked.package), "cpu", cores=2)
    samples = office() + own()

    def cleaned(page: Page) -> Page:
        return np.asarray(model.denoise(page[None, ..., None], wide=True)[0, ..., 0])

    report: dict[str, dict[str, dict[str, float]]] = {}
    for name, engine in engines().items():

        def errors(sample: Sample, engine: Engine = engine) -> list[tuple[int, int]]:
            versions = (sample.noisy, cleaned(sample.noisy), sample.clean, cleaned(sample.clean))
            larger = [cv2.resize(v, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC) for v in versions]
            framed = [cv2.copyMakeBorder(v, 30, 30, 30, 30, cv2.BORDER_CONSTANT, value=(255,)) for v in larger]
            return [count_errors(engine(np.asarray(v, np.uint8)), sample.text) for v in framed]

        with ThreadPoolExecutor(2) as pool:
            counts = list(pool.map(errors, samples))
        print(f"\n{name:34}{'noisy':>9}{'cleaned':>9}{'clean':>9}{'clean, cleaned':>16}{'gap closed':>12}")
        groups = list(dict.fromkeys(s.group for s in samples))
        for title, chosen in [
            *((g, [g]) for g in groups),
            ("NoisyOffice, all", [g for g in groups if g != "own pages"]),
        ]:
            mine = np.array([c for c, s in zip(counts, samples, strict=True) if s.group in chosen])  # [n,4,2]
            noisy, after, clean, unharmed = (mine[:, i, 0].sum() / mine[:, i, 1].sum() for i in range(4))
            closed = (noisy - after) / (noisy - clean) if noisy > clean else float("nan")
            print(f"{title:34}{noisy:>9.2%}{after:>9.2%}{clean:>9.2%}{unharmed:>16.2%}{closed:>12.0%}")
            report.setdefault(name, {})[title] = {
                "noisy": float(noisy), "cleaned": float(after), "clean": float(clean),
                "clean_cleaned": float(unharmed), "gap_closed": float(closed),
            }  # fmt: skip
    if asked.json:
        asked.json.write_text(json.dumps(report, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
