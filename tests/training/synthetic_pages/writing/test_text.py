import gzip
from pathlib import Path

import numpy as np
import pytest

from tests.training import fonts as faces
from training.synthetic_pages.writing import text as texts
from training.synthetic_pages.writing.text import TextCorpus

NOWHERE = Path("/nowhere")  # no manual pages: words are invented


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("script", ["latin", "cyrillic", "greek"])
def test_every_word_is_covered_by_its_face(script: str) -> None:
    face = faces.book().choose(rng(), script)
    words = TextCorpus("train", NOWHERE).draw_words(rng(1), script, face, 200)
    assert len(words) == 200
    assert {ord(letter) for word in words for letter in word} <= face.letters


def test_words_of_a_manual_that_the_face_lacks_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "man1"
    folder.mkdir()
    text = "\n\n".join(f"plain words of paragraph number {n} 漢字 and more of them" for n in range(60))
    (folder / "x.1.gz").write_bytes(gzip.compress(text.encode()))
    face = next(face for face in faces.book().faces if "DejaVu" in face.family and not face.covers("漢"))
    words = TextCorpus("train", tmp_path).draw_words(rng(), "latin", face, 30)
    assert "paragraph" in words
    assert "漢字" not in words


def test_a_split_never_uses_the_text_of_another() -> None:
    splits: dict[str, str] = {}
    for number in range(3000):
        splits[f"paragraph {number}"] = texts.split_of(f"paragraph {number}")
    shares = [list(splits.values()).count(split) / 3000 for split in ("train", "validation", "test")]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.03)
    face = faces.book().choose(rng(), "latin")
    words = TextCorpus("test", NOWHERE).draw_words(rng(3), "latin", face, 12)
    assert texts.split_of(" ".join(words)) == "test"
