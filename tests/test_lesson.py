"""docs/lesson.ipynb: every cell runs, on small data in the places of the published sets, and shows what its text says.

The drawings are strokes; the digits are handwritten ones, those that come with scikit-learn.
"""

import base64
import gzip
import io
import json
import re
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tests.drawings import drawings
from tests.runnable_documents import ROOT, Checkout

LESSON = ROOT / "docs" / "lesson.ipynb"
HANGUL, WORDS = re.compile("[가-힣]"), re.compile("[a-z]{2,}")
TRAIN_DIGITS = 1400
COLUMN = 3  # 500 labels


def read_cells(kind: str) -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(LESSON.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == kind]


def write_cats(folder: Path) -> None:
    folder.mkdir(parents=True)
    np.savez(folder / "cats.npz", images=drawings(400, 28))


def write_digits(folder: Path) -> None:
    """MNIST's four files with scikit-learn's digits, 8 x 8 enlarged to 20 x 20 in 28 x 28."""
    folder.mkdir(parents=True)
    digits = load_digits()
    images = np.zeros((len(digits.images), 28, 28), np.uint8)
    for image, digit in zip(images, digits.images, strict=True):
        large = Image.fromarray((digit * 255 / 16).astype(np.uint8)).resize((20, 20), Image.Resampling.BICUBIC)
        image[4:24, 4:24] = np.asarray(large)
    for part, indices in (("train", slice(0, TRAIN_DIGITS)), ("t10k", slice(TRAIN_DIGITS, None))):
        some, classes = images[indices], digits.target[indices].astype(np.uint8)
        for name, header, content in (
            ("images-idx3", struct.pack(">IIII", 0x803, *some.shape), some),
            ("labels-idx1", struct.pack(">II", 0x801, len(classes)), classes),
        ):
            (folder / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(header + content.tobytes(), 1))


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What all cells print, run from top to bottom."""
    folder = tmp_path_factory.mktemp("lesson")
    write_cats(folder / "published" / "quickdraw")
    write_digits(folder / "published" / "mnist")
    shutil.copytree(ROOT / "docs", folder / "docs")
    (folder / "models").symlink_to(ROOT / "models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOENCODER_DATA", str(folder / "published"))
        return Checkout(folder, folder, "").run_notebook(LESSON)


def find_numbers(pattern: str, text: str) -> list[float]:
    found = re.search(pattern, text)
    assert found is not None, f"{pattern} is not in\n{text}"
    return [float(number) for number in found.groups()]


def test_the_agent_finds_the_goal(printed: str) -> None:
    (moves,) = find_numbers(r"takes (\d+) moves and ends at the goal: True", printed)
    assert moves == 8, "the shortest way around the walls"


def test_denoising_makes_the_error_smaller_than_copying(printed: str) -> None:
    _, copied = find_numbers(r"trained without noise: .*?(0\.\d+),.*?(0\.\d+)", printed)
    _, denoised = find_numbers(r"trained with noise +: .*?(0\.\d+),.*?(0\.\d+)", printed)
    (noisy,) = find_numbers(r"the noisy drawings themselves (0\.\d+)", printed)
    assert denoised < copied < noisy


def test_a_grid_becomes_empty(printed: str) -> None:
    """The expected share is 1 - (1 - 1 / cells)^100."""
    for dimensions, cells, share in re.findall(r"(\d+) dimensions: +([\d,]+) cells, (\S+) of them", printed):
        count = 10.0 ** int(dimensions)
        assert int(cells.replace(",", "")) == count
        assert float(share) == pytest.approx(-np.expm1(100 * np.log1p(-1 / count)), rel=0.15)


def test_near_and_far_neighbours_become_alike(printed: str) -> None:
    found = re.findall(r"(\d+) dimensions, evenly spread points: ([\d.]+)", printed)
    ratios = [float(ratio) for _, ratio in found]
    assert len(ratios) > 5
    assert ratios == sorted(ratios)
    assert ratios[0] < 0.1
    assert ratios[-1] > 0.8
    (pixels,) = find_numbers(r"drawings, pixels: ([\d.]+)", printed)
    (latents,) = find_numbers(r"drawings, latents: ([\d.]+)", printed)
    assert latents < pixels < ratios[-1]


def test_pixels_overfit_and_latents_do_not(printed: str) -> None:
    gaps = {}
    for name in ("pixels", "latents"):
        row = re.search(rf"^LDA +{name} .*$", printed, re.MULTILINE)
        assert row is not None
        training, test = re.findall(r"(\d+)% / *(\d+)%", row[0])[COLUMN]
        gaps[name] = int(training) - int(test)
    assert gaps["pixels"] > 2 * gaps["latents"]


def test_fewer_numbers_leave_a_larger_error(printed: str) -> None:
    errors = [float(error) for error in re.findall(r"numbers: PCA (0\.\d+)", printed)]
    assert len(errors) == 3
    assert errors == sorted(errors, reverse=True)


def test_unlike_inputs_have_larger_errors(printed: str) -> None:
    (cat,) = find_numbers(r"error of a cat: ([\d.]+)", printed)
    (upside_down,) = find_numbers(r"error of a cat upside down: ([\d.]+)", printed)
    (static,) = find_numbers(r"error of static: ([\d.]+)", printed)
    assert cat < upside_down < static


def test_each_text_is_in_korean_and_english() -> None:
    for cell in read_cells("markdown"):
        paragraphs = "".join(cell["source"]).split("\n\n")
        korean = [text for text in paragraphs if len(HANGUL.findall(text)) > 3]
        english = [text for text in paragraphs if text.startswith(">")]
        assert korean
        assert english
        assert not set(korean) & set(english)
        assert len(WORDS.findall(english[0])) > 3


def test_links_lead_somewhere() -> None:
    texts = "".join("".join(cell["source"]) for cell in read_cells("markdown"))
    targets = re.findall(r"\]\((?!http)([^)#]+)", texts)
    assert len(targets) > 5
    assert [target for target in targets if not (LESSON.parent / target).exists()] == []


def test_texts_state_no_measured_numbers() -> None:
    texts = "\n".join("".join(cell["source"]) for cell in read_cells("markdown"))
    assert re.findall(r"\b0\.\d+|\d %(?! of the cells)", texts.replace("칸 63 %", "")) == []


def test_outputs_are_there_and_small() -> None:
    assert LESSON.stat().st_size < 1.5e6
    outputs = [output for cell in read_cells("code") for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    pictures = [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    for picture in pictures:
        with Image.open(io.BytesIO(base64.b64decode("".join(picture)))) as image:
            assert image.width < 1600
    assert len(pictures) > 10
