from pathlib import Path

import pytest

from tests.training import fonts as faces
from training.errors import DataError
from training.synthetic_pages.writing import fonts
from training.synthetic_pages.writing.fonts import FontBook, read_face


def test_a_face_claims_only_scripts_whose_letters_it_has() -> None:
    for face in faces.book().faces:
        for script in face.scripts:
            assert script == "other" or face.covers(fonts.SAMPLE_LETTERS[script])
    dejavu = read_face(faces.FOLDER / "DejaVuSans.ttf")
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
    dejavu = [read_face(faces.FOLDER / f"DejaVuSans{style}.ttf") for style in ("", "-Bold", "-Oblique", "-BoldOblique")]
    assert {face.family for face in dejavu if face} == {"DejaVu Sans"}


def test_no_font_is_one_line_that_names_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^no usable font below .*apt-get install fonts-dejavu[^\n]*$"):
        FontBook.installed("train", [tmp_path])


def test_a_broken_font_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "broken.ttf").write_bytes(b"\0\1\0\0 not a font")
    assert read_face(tmp_path / "broken.ttf") is None
