import gzip
from pathlib import Path

import numpy as np
import pytest

from tests.training import fonts as faces
from training.errors import DataError
from training.synthetic_pages import fonts
from training.synthetic_pages import text as prose
from training.synthetic_pages.fonts import FontBook, read
from training.synthetic_pages.text import Prose
from training.synthetic_pages.typesetting import _Sheet, page

NOWHERE = Path("/nowhere")  # no manual pages: words are invented


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def some_page(seed: int, height: int = 200, width: int = 260) -> np.ndarray:
    return page(rng(seed), height, width, faces.book(), Prose("train", NOWHERE))


def test_a_page_is_dark_ink_on_white_paper_of_the_asked_shape() -> None:
    for seed in range(8):
        drawn = some_page(seed)
        assert drawn.dtype == np.uint8
        assert drawn.shape == (200, 260)
        assert np.median(drawn) == 255
    dark = [some_page(seed).min() for seed in range(8)]
    assert np.median(dark) < 60


@pytest.mark.parametrize(
    "block",
    ["paragraph", "heading", "bullets", "table", "form", "boxed", "sketch", "written", "inverted", "picture"],
)
def test_every_block_puts_ink_below_its_top_and_says_where_it_ends(block: str) -> None:
    for seed in range(12):
        sheet = _Sheet(rng(seed), 400, 300, faces.book(), Prose("train", NOWHERE))
        bottom = getattr(sheet, block)(10, 100, 280)
        drawn = np.minimum(np.asarray(sheet.print), sheet.strokes)
        assert bottom > 100
        above = 60 if block == "form" else 90  # what is written by hand into a form may reach above its line
        assert drawn[:above].min() == 255, "nothing stands above the block"
        assert drawn[above:].min() < 200


def test_the_same_seed_draws_the_same_page_and_another_seed_another() -> None:
    assert np.array_equal(some_page(5), some_page(5))
    assert not np.array_equal(some_page(5), some_page(6))


@pytest.mark.parametrize("script", ["latin", "cyrillic", "greek"])
def test_every_word_is_covered_by_its_face(script: str) -> None:
    face = faces.book().choose(rng(), script)
    words = Prose("train", NOWHERE).words(rng(1), script, face, 200)
    assert len(words) == 200
    assert {ord(letter) for word in words for letter in word} <= face.letters


def test_words_of_a_manual_that_the_face_lacks_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "man1"
    folder.mkdir()
    text = "\n\n".join(f"plain words of paragraph number {n} 漢字 and more of them" for n in range(60))
    (folder / "x.1.gz").write_bytes(gzip.compress(text.encode()))
    face = next(face for face in faces.book().faces if "DejaVu" in face.family and not face.covers("漢"))
    words = Prose("train", tmp_path).words(rng(), "latin", face, 30)
    assert "paragraph" in words
    assert "漢字" not in words


def test_a_face_claims_only_scripts_whose_letters_it_has() -> None:
    for face in faces.book().faces:
        for script in face.scripts:
            assert script == "other" or face.covers(fonts.SAMPLES[script])
    dejavu = read(faces.FOLDER / "DejaVuSans.ttf")
    assert dejavu is not None
    assert {"latin", "cyrillic", "greek"} <= set(dejavu.scripts)
    assert "han" not in dejavu.scripts


def test_splits_share_no_family_and_hold_out_about_a_tenth() -> None:
    splits = [fonts.split_of(f"Family {n}") for n in range(2000)]
    assert 1700 < splits.count("train") < 1900
    assert splits.count("validation") > 50 < splits.count("test")
    assert fonts.split_of("DejaVu Sans") == fonts.split_of("dejavu sans")
    assert {fonts.split_of(face.family) for face in faces.book().faces} == {"train"}


def test_weights_of_a_family_stay_together() -> None:
    faces_read = [read(faces.FOLDER / f"DejaVuSans{style}.ttf") for style in ("", "-Bold", "-Oblique", "-BoldOblique")]
    assert {face.family for face in faces_read if face} == {"DejaVu Sans"}


def test_a_split_never_uses_the_text_of_another() -> None:
    seen: dict[str, str] = {}
    for number in range(3000):
        seen[f"paragraph {number}"] = prose.split_of(f"paragraph {number}")
    shares = [list(seen.values()).count(split) / 3000 for split in ("train", "validation", "test")]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.03)
    face = faces.book().choose(rng(), "latin")
    words = Prose("test", NOWHERE).words(rng(3), "latin", face, 12)
    assert prose.split_of(" ".join(words)) == "test"


def test_no_font_is_one_line_that_names_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^no usable font below .*apt-get install fonts-dejavu[^\n]*$"):
        FontBook.installed("train", [tmp_path])


def test_a_broken_font_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "broken.ttf").write_bytes(b"\0\1\0\0 not a font")
    assert read(tmp_path / "broken.ttf") is None
