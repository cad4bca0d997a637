"""README.md and docs/: every command and code block runs and does what it says, against the shipped models.

The numbers in tables stand once, in model cards and benchmarks; links lead somewhere.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pikepdf
import pytest
from numpy.typing import NDArray
from PIL import Image

from service import errors
from service.model import package
from service.model.manifest import Manifest
from service.settings import PREFIX, Settings
from tests import runnable_documents as documents
from tests.drawings import drawings, waves
from tests.runnable_documents import ROOT, Checkout
from tests.training.importing import foreign_models
from training import recipe

README = ROOT / "README.md"
ENGLISH = [README, *sorted((ROOT / "docs").glob("*.md"))]
KOREAN = {  # document -> the one that it is a shorter form of
    ROOT / "README.ko.md": README,
    **{path: ROOT / "docs" / path.name for path in sorted((ROOT / "docs" / "ko").glob("*.md"))},
}
DOCUMENTS = [*ENGLISH, *KOREAN]
FRONT = [*DOCUMENTS, ROOT / "models" / "README.md", ROOT / "benchmarks" / "README.md", ROOT / "ARCHITECTURE.md"]
TABLE = re.compile(r"<!-- numbers: (.+?) -->\n((?:\|.*\n)+)")
NUMBER = re.compile(r"\d[\d,]*\.\d+|\d+,\d{3}")
HANGUL = re.compile("[가-힣]")


def name_document(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    folder = tmp_path_factory.mktemp("service")
    with documents.service(folder) as address:
        yield folder / "models", address


@pytest.fixture
def checkout(served: tuple[Path, str], tmp_path: Path) -> Checkout:
    for left in served[0].glob("mine*"):  # what another document trained
        shutil.rmtree(left)
    return documents.checkout(tmp_path, *served)


def picture(path: Path) -> NDArray[np.float64]:
    return np.asarray(Image.open(path).convert("L")).astype(float)


def folder_of_drawings(folder: Path, size: int, noise: int = 0) -> None:
    folder.mkdir(parents=True)
    for index, image in enumerate(drawings(120, size)):
        added = np.random.default_rng(index).integers(0, noise + 1, image.shape)
        Image.fromarray(np.minimum(image + added, 255).astype(np.uint8)).save(folder / f"{index}.png")


def own_pairs(folder: Path) -> None:
    folder_of_drawings(folder / "clean", 48)
    folder_of_drawings(folder / "noisy", 48, noise=60)


def book(folder: Path) -> None:
    scan = Image.open(ROOT / "docs" / "scan.png").convert("L")
    scan.save(folder / "book.pdf", save_all=True, append_images=[scan.crop((0, 0, 200, 100))], resolution=300)


def sizes(document: Path) -> list[tuple[float, float]]:
    with pikepdf.open(document) as opened:
        return [(round(float(x), 1), round(float(y), 1)) for *_, x, y in (page.mediabox for page in opened.pages)]


def test_readme(checkout: Checkout) -> None:
    folder = checkout.folder
    folder_of_drawings(folder / "path" / "to" / "folder", 12)
    book(folder)
    for path in (folder / "docs").iterdir():
        if path.is_file() and path.name not in ("scan.png", "noisy-photo.jpg", "cat.png"):
            path.unlink()
    printed = checkout.run(README)
    scan, page = picture(folder / "docs" / "scan.png"), picture(folder / "page.png")
    assert page.shape == scan.shape
    assert np.median(page) == 255 > np.median(scan)
    for name in ("clean.pdf", "clean-too.pdf"):
        assert sizes(folder / name) == sizes(folder / "book.pdf")
    photo, noisy = picture(folder / "photo.jpg"), picture(folder / "docs" / "noisy-photo.jpg")
    assert np.abs(np.diff(photo, axis=1)).mean() < 0.6 * np.abs(np.diff(noisy, axis=1)).mean()
    clean = picture(folder / "docs" / "cat.png")
    for name in ("decoded.png", "reconstructed.png"):
        assert np.mean((picture(folder / name) - clean) ** 2) < 0.7 * np.mean(clean**2)
    assert "reconstruction-error-percentile" in (folder / "headers.txt").read_text()
    assert {path.name for path in (folder / "clean").iterdir()} == {"scan.png", "noisy-photo.jpg", "cat.png"}
    assert np.load(folder / "latents.npy").shape == (1, 32)
    unusual = (folder / "unusual.csv").read_text().splitlines()
    assert unusual[-1].startswith("cat.png,"), "of these, what the model knows best"
    assert any(re.search(r"^\[0\.0\d+\] \[[\d.]+\]$", text, re.MULTILINE) for text in printed.values())
    assert any(re.search(r"^mine\b", text, re.MULTILINE) for text in printed.values()), "the package is listed"


def test_train(checkout: Checkout) -> None:
    folder = checkout.folder
    folder_of_drawings(folder / "photos", 30)
    folder_of_drawings(folder / "clean", 48)
    folder_of_drawings(folder / "noisy", 48, noise=60)
    own_pairs(folder / "mine")
    np.save(folder / "signals.npy", waves(120))
    kinds_of_two = np.arange(240) % 2
    pictures = np.where(kinds_of_two[:, None, None], drawings(240)[:, ::-1] // 2, drawings(240, seed=1)).astype(
        np.uint8
    )
    np.savez(folder / "labelled.npz", images=pictures, labels=kinds_of_two)
    checkout.run(ROOT / "docs" / "train.md")
    kinds = {
        path.parent.parent.name: package.read(path.parent).manifest.kind
        for path in (folder / "models").glob("mine*/1/manifest.json")
    }
    assert kinds.pop("mine-signals") == "undercomplete"
    assert kinds.pop("mine-denoising") == "denoising"
    assert kinds == {"mine": "stacked", "mine-photos": "denoising", "mine-pages": "denoising"}
    latent = package.read(folder / "models" / "mine" / "2").latent
    assert latent is not None
    assert latent.shape == ("N", 64)
    assert np.load(folder / "latents.npy").shape == (120, 4)
    assert picture(folder / "clean.png").shape == (28, 28)


def test_api(checkout: Checkout) -> None:
    folder = checkout.folder
    book(folder)
    checkout.run(ROOT / "docs" / "api.md")
    assert sizes(folder / "clean.pdf") == sizes(folder / "smaller.pdf") == sizes(folder / "book.pdf")
    assert (folder / "smaller.pdf").stat().st_size < (folder / "clean.pdf").stat().st_size
    assert np.load(folder / "latents.npy").shape == (2, 32)
    assert np.load(folder / "decoded.npy").shape == (2, 28, 28, 1)
    photo, half = picture(folder / "docs" / "noisy-photo.jpg"), picture(folder / "half.jpg")
    assert 1 < np.abs(half - photo).mean() < 20
    for name in ("reconstructions.png", "again.png", "heatmap.png", "decoded.png", "page.png"):
        assert picture(folder / name).std() > 10


def test_scale(checkout: Checkout) -> None:
    folder_of_drawings(checkout.folder / "drawings", 12)
    checkout.run(ROOT / "docs" / "scale.md")
    assert package.read(checkout.folder / "models" / "shared" / "1").manifest.kind == "stacked"
    if documents.RAY:
        made = {path.name for path in (checkout.folder / "cleaned").iterdir()}
        assert {"scan.png", "noisy-photo.jpg", "plan.parquet", "records"} <= made


def test_import(checkout: Checkout) -> None:
    folder = checkout.folder
    foreign_models.write_examples(folder)
    checkout.run(ROOT / "docs" / "import.md")
    imported = {path.parent.parent.name: package.read(path.parent) for path in folder.glob("models/*/1/manifest.json")}
    assert imported["theirs"].manifest.halo == 5
    assert imported["in-tiles"].manifest.overlap == "blended"
    assert imported["vae"].manifest.operations == ("encode", "decode", "reconstruct")
    assert imported["sae"].manifest.kind == "sparse"
    assert imported["sd-vae"].manifest.latent_scaling is not None
    assert picture(folder / "decoded.png").shape[:2] == (420, 560)
    assert imported["mine-torch"].manifest.imported is not None
    photo, noisy = picture(folder / "theirs.jpg"), picture(folder / "docs" / "noisy-photo.jpg")
    assert photo.shape == noisy.shape


@pytest.mark.parametrize("name", ["deploy", "choosing", "how-it-works", "anomalies"])
def test_the_other_documents(checkout: Checkout, name: str) -> None:
    checkout.run(ROOT / "docs" / f"{name}.md")


KOREAN_RUN = ("api.md", "how-it-works.md")  # train.md: all of its lines are run in their order by test_train


def test_the_korean_readme(checkout: Checkout) -> None:
    folder_of_drawings(checkout.folder / "path" / "to" / "folder", 12)
    for path in (checkout.folder / "docs").glob("*.*g"):
        if path.name not in ("scan.png", "noisy-photo.jpg", "cat.png"):
            path.unlink()
    printed = checkout.run(ROOT / "README.ko.md")
    assert np.median(picture(checkout.folder / "page.png")) == 255
    assert any(re.search(r"^mine\b", text, re.MULTILINE) for text in printed.values()), "the package is listed"


@pytest.mark.parametrize("name", KOREAN_RUN)
def test_the_other_korean_documents(checkout: Checkout, name: str) -> None:
    book(checkout.folder)
    checkout.run(ROOT / "docs" / "ko" / name)


@pytest.mark.parametrize("document", KOREAN, ids=name_document)
def test_a_korean_document_says_what_the_english_one_says(document: Path) -> None:
    """Its lines of code, in their order, and its decimal numbers are the English one's; each links to the other."""
    english = KOREAN[document]
    text, reference = (path.read_text(encoding="utf-8") for path in (document, english))
    assert len(HANGUL.findall(text)) > 500
    code, known_code = (
        [line for block in documents.blocks(path) for line in block.text.splitlines()] for path in (document, english)
    )
    assert [line for line in code if line not in known_code] == [], f"not in {english.name}, or not so any more"
    following = iter(known_code)
    assert [line for line in code if line not in following] == [], f"in another order than in {english.name}"
    known_numbers = set(NUMBER.findall(reference))
    assert [number for number in NUMBER.findall(text) if number not in known_numbers] == [], f"not in {english.name}"
    for path, other, of_path in ((document, english, text), (english, document, reference)):
        assert f"]({os.path.relpath(other, path.parent)})" in of_path


def test_notebook(checkout: Checkout) -> None:
    printed = checkout.run_notebook(ROOT / "docs" / "tour.ipynb").splitlines()
    assert "(32,) float32" in printed
    assert printed[-2].endswith("unusual: False")
    assert printed[-1].endswith("unusual: True")


def test_the_pictures_of_the_documents_are_drawn_from_the_shipped_models(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "docs" / "draw.py"), str(tmp_path)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    for name in ("front.jpg", "kinds.png", "noise.png", "walk.png"):
        drawn, shown = (Image.open(folder / name).convert("L") for folder in (tmp_path, ROOT / "docs"))
        assert drawn.size == shown.size
        assert np.abs(np.asarray(drawn, float) - np.asarray(shown, float)).mean() < 1


def test_there_is_no_document_that_is_not_run() -> None:
    run = {"README", "train", "api", "deploy", "choosing", "how-it-works", "anomalies", "scale", "import"}
    assert {path.stem for path in ENGLISH if documents.blocks(path)} == run
    assert {path.name for path in KOREAN if documents.blocks(path)} == {"README.ko.md", "train.md", *KOREAN_RUN}


def sources(names: str) -> Callable[[str], bool]:
    """Whether a number, as it is written, is a rounded one of the named packages, or stands in the named documents."""
    values: list[float] = []
    words: set[str] = set()
    for name in names.split():
        if name.startswith("models/"):
            newest = package.newest_directory(ROOT / name)
            assert newest is not None
            manifest: Manifest = package.read(newest).manifest
            values += [v for m in manifest.evaluation.values() for v in (m.value, *m.baselines.values())]
        else:
            words |= set(NUMBER.findall((ROOT / name).read_text(encoding="utf-8")))

    def known(number: str) -> bool:
        decimals = len(number.partition(".")[2])
        return number in words or any(f"{value:.{decimals}f}" == number for value in values)

    return known


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_document)
def test_the_numbers_in_tables_are_those_of_the_cards_and_benchmarks(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    tables = TABLE.findall(text)
    for names, table in tables:
        known = sources(names)
        numbers = [number for row in table.splitlines() for cell in _measured(row) for number in NUMBER.findall(cell)]
        assert len(numbers) > 5
        assert [number for number in numbers if not known(number)] == []
    outside = re.sub(TABLE, "", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    assert not [row for row in re.findall(r"^\|.*$", outside, re.MULTILINE) if NUMBER.search(row)], "whose numbers?"


def _measured(row: str) -> list[str]:
    """The cells of a row but the first, which names what was measured."""
    return row.strip("|").split("|")[1:]


@pytest.mark.parametrize("folder", ["docs", "docs/ko"])
@pytest.mark.parametrize("name", ["cats-undercomplete", "cats-stacked", "cats-convolutional"])
def test_numbers_in_prose_are_the_cards_too(name: str, folder: str) -> None:
    text = (ROOT / folder / "how-it-works.md").read_text(encoding="utf-8")
    assert f"{package.read(ROOT / 'models' / name / '1').manifest.evaluation['reconstruction_mse'].value:.4f}" in text


def test_no_number_of_the_text_on_kinds_is_unknown() -> None:
    text = (ROOT / "docs" / "how-it-works.md").read_text(encoding="utf-8")
    known = sources("models/cats-undercomplete models/cats-stacked models/cats-convolutional models/cats-denoising")
    assert [number for number in re.findall(r"\b0\.\d{4}\b", text) if not known(number)] == []


def test_problem_types_are_the_service_s() -> None:
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    table = text.partition("<!-- problems -->")[2].partition("\n\n")[0]
    told = {(int(row[0]), name) for row in re.findall(r"^\| (\d+) \| (.+) \|$", table, re.MULTILINE)
            for name in re.findall(r"`([\w-]+)`", row[1]) if row[0].isdigit()}  # fmt: skip
    real = {(one.status, one.title.lower().replace(" ", "-")) for one in _all_errors(errors.ServiceError)}
    assert told == real


def _all_errors(root: type[errors.ServiceError]) -> Iterator[type[errors.ServiceError]]:
    for one in root.__subclasses__():
        yield one
        yield from _all_errors(one)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_document)
def test_settings_are_the_service_s(document: Path) -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | {PREFIX}
    assert set(re.findall(rf"{PREFIX}[A-Z_]*", document.read_text(encoding="utf-8"))) <= known


@pytest.mark.parametrize("document", FRONT, ids=name_document)
def test_links_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (document.parent / target).exists(), target
    headings = {
        re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= headings


def test_any_document_is_one_link_from_the_readme_and_any_fact_two() -> None:
    for readme, others in ((README, [*ENGLISH[1:], *(ROOT / "docs").glob("*.ipynb")]), (ROOT / "README.ko.md", KOREAN)):
        linked = set(re.findall(r"\]\((?!http)([^)#]+)", readme.read_text(encoding="utf-8")))
        assert {name_document(path) for path in others if path != readme} <= linked


EARLIER_RECIPES: dict[str, str] = {}
"""Package -> the first digits of the digest of the recipe that made it, where the recipe has changed since."""


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "models").iterdir() if path.is_dir()))
def test_shipped_packages_are_those_of_the_shipped_recipes(name: str) -> None:
    for folder in (ROOT / "models" / name).iterdir():
        manifest = package.read(folder).manifest
        digest = EARLIER_RECIPES.get(f"{name}/{folder.name}", recipe.load(name).digest)
        assert manifest.training is not None
        assert manifest.training.recipe_sha256.startswith(digest)
        assert str(ROOT) not in (folder / "README.md").read_text()


def test_all_models_together_are_small() -> None:
    assert sum(p.stat().st_size for p in (ROOT / "models").rglob("*") if p.is_file()) < 40e6
