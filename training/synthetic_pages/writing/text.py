"""Text for pages in many scripts: installed manual pages, else words made up of a script's letters.

manual pages of a language -> paragraphs of one split -> words that the face covers

A paragraph's split depends on its own text alone (SHA-256 modulo 10: 0-7 train, 8 validation, 9 test).
"""

import gzip
import hashlib
import re
import unicodedata
import zlib
from functools import cache
from pathlib import Path

import numpy as np

from training.synthetic_pages.writing.fonts import SAMPLE_LETTERS, Face, Split

MANUAL = Path("/usr/share/man")
LANGUAGES = {
    "latin": ("", "de", "fr", "es", "it", "pl", "cs", "hu", "tr", "fi", "nl", "pt_BR", "ro", "sv", "da", "hr", "sl"),
    "cyrillic": ("ru", "uk", "sr"),
    "kana": ("ja",),
    "han": ("zh_CN", "zh_TW"),
    "hangul": ("ko",),
    "greek": ("el",),
}
UNSPACED = {"kana", "han"}  # scripts without blanks, that break a line anywhere
MAX_FILES = 40  # of one language: enough for thousands of paragraphs
_ROFF = re.compile(r"\\f(\[\w*\]|\(..|.)|\\s[-+]?\d|\\[&/,|^:%]|\\\*\[\w*\]")
_DIGITS = "0123456789"


class TextCorpus:
    """Paragraphs of one split."""

    def __init__(self, split: Split, manual: Path = MANUAL) -> None:
        self.split = split
        self.manual = manual

    def draw_words(self, rng: np.random.Generator, script: str, face: Face, count: int) -> list[str]:
        """`count` words (or single letters, of a script without blanks), all letters of each covered by `face`."""
        words: list[str] = []
        for _ in range(4):
            paragraphs = _load_paragraphs(self.manual, script, self.split)
            if not paragraphs or rng.random() < 0.1:
                break
            text = paragraphs[rng.integers(len(paragraphs))]
            parts = list(text.replace(" ", "")) if script in UNSPACED else text.split()
            words += [part for part in parts if face.covers(part)]
            if len(words) >= count:
                return words[:count]
        while len(words) < count:
            paragraph = self._invent_words(rng, script, face)
            if split_of(" ".join(paragraph)) == self.split:
                words += paragraph
        return words[:count]

    def _invent_words(self, rng: np.random.Generator, script: str, face: Face) -> list[str]:
        """12 words of letters of uneven frequency, as in a language (Zipf), with numbers, capitals and full stops."""
        letters = [letter for letter in alphabet(script, face) if face.covers(letter)]
        weights = 1 / (np.arange(len(letters)) + 2.0)
        order = rng.permutation(len(letters))
        words: list[str] = []
        for _ in range(12):
            size = 1 if script in UNSPACED else int(rng.integers(1, 11))
            word = "".join(letters[order[i]] for i in rng.choice(len(letters), size, p=weights / weights.sum()))
            if rng.random() < 0.1 and face.covers(_DIGITS):
                word = str(int(10 ** rng.uniform(0, 6)))
            if rng.random() < 0.15:
                word = word.capitalize() if face.covers(word.capitalize()) else word
            if rng.random() < 0.12 and face.covers(".,"):
                word += "., "[int(rng.integers(2))]
            words.append(word)
        return words


def alphabet(script: str, face: Face) -> str:
    """The letters that words are made up of; for "other" whatever letters the face itself has (at most 400)."""
    if script != "other":
        return "".join(letter for letter in SAMPLE_LETTERS[script] if unicodedata.category(letter) in {"Ll", "Lo"})
    letters = sorted(code for code in face.letters if unicodedata.category(chr(code)) == "Lo")
    return "".join(map(chr, letters[:400]))


def split_of(paragraph: str) -> Split:
    """The split of a paragraph, from its own text."""
    number = int(hashlib.sha256(paragraph.encode()).hexdigest()[:8], 16) % 10
    return "validation" if number == 8 else "test" if number == 9 else "train"


@cache
def _load_paragraphs(manual: Path, script: str, split: Split) -> tuple[str, ...]:
    """Distinct paragraphs of the split, of at most MAX_FILES files of each language; unreadable files are skipped."""
    paragraphs: list[str] = []
    for language in LANGUAGES.get(script, ()):
        files = sorted((manual / language).glob("man[1578]/*.gz"))
        for file in files[:: max(1, len(files) // MAX_FILES)]:
            try:
                source = gzip.decompress(file.read_bytes()).decode("utf-8")
            except (OSError, EOFError, zlib.error, UnicodeDecodeError):
                continue
            paragraphs += [p for p in _strip_roff(source) if split_of(p) == split]
    return tuple(dict.fromkeys(paragraphs))


def _strip_roff(source: str) -> list[str]:
    """Paragraphs of 40 letters and more; requests, comments and font changes of roff are taken out."""
    lines = []
    for line in source.splitlines():
        if line.startswith((".B ", ".I ", ".BR ", ".IR ")):
            line = line.split(" ", 1)[1].replace('"', "")
        lines.append("" if line.startswith((".", "'")) else line)
    text = _ROFF.sub("", "\n".join(lines)).replace("\\-", "-").replace("\\(aq", "'").replace("\\e", "\\")
    paragraphs = (" ".join(block.split()) for block in re.split(r"\n\s*\n", text))
    return [p for p in paragraphs if len(p) >= 40 and "\\" not in p]
