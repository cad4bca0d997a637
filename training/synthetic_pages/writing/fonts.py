"""Installed fonts, grouped by the scripts that they really cover, and split by family.

folders -> font files -> Face (family, letters, scripts) -> FontBook of one split

A family's split depends on its name alone (SHA-256 modulo 20: 0-17 train, 18 validation, 19 test), so held-out pages
are typeset in faces that no training page uses. Weights and widths of a family stay together.
"""

import hashlib
import logging
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from fontTools.ttLib import TTFont, TTLibError
from PIL import ImageFont, features

from training.errors import DataError

Split = Literal["train", "validation", "test"]

FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path.home() / ".local/share/fonts")
PACKAGES = "fonts-dejavu fonts-liberation fonts-freefont-ttf fonts-noto-core fonts-noto-cjk fonts-dancingscript"

# A face covers a script if it has all of these letters.
SAMPLE_LETTERS = {
    "latin": "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,-()",
    "cyrillic": "абвгдежзийклмнопрстуфхцчшщъыьэюяАБВГДЕЖЗИКЛМНОПРСТУФХЦЧШЩЭЮЯ",
    "greek": "αβγδεζηθικλμνξοπρστυφχψωΑΒΓΔΕΖΗΘΚΛΜΝΞΟΠΡΣΤΦΧΨΩ",
    "hebrew": "אבגדהוזחטיכלמנסעפצקרשת",
    "arabic": "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
    "devanagari": "अआइईउऊएकखगघचछजटडणतथदधनपफबभमयरलवशषसहािीुूे",
    "thai": "กขคงจชซญดตถทธนบปผพภมยรลวศสหอาิีุเแโ",
    "kana": "あいうえおかきくけこさしすせそたちつてとなにぬねのはひふへほまみむめもやゆよらり"
    "るれろわをんアイウエオカキクケコ",
    "han": "的一是不了人我在有他这中大来上个国到说们为子和你地出道也时年得就那"
    "要下以生会自着去之过家学对可里后小么心多天而能好都然没日于起",
    "hangul": "가나다라마바사아자차카타파하고노도로모보소오조는을를이에의한지기시어여우정",
}
logging.getLogger("fontTools").setLevel(logging.ERROR)  # it warns of harmless bytes in installed fonts
SHAPED_SCRIPTS = {"arabic", "devanagari", "other"}  # whose letters join: they need the slower layout engine
_HANDWRITING = re.compile(
    r"handwriting|\bhand\b|script\b|breip|because we|ecolier|humor|kristi|rufscript|femke|joscelyn|klee|kiloji|seto|"
    r"kaushan|havana|yusei|dancing|yoz|comic|chancery|gazis|steve|delphine|cursive|\bpen\b",
    re.IGNORECASE,
)
_YOZ = re.compile(r"^YOz\w*")  # 30 "families" that differ in a few letters
_STYLES = re.compile(
    r"\b(thin|extra|ultra|semi|demi|light|regular|book|medium|bold|black|heavy|italic|oblique|condensed|narrow|"
    r"compact|ui|caps|\d+)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Face:
    """One font file (the first face of a collection)."""

    path: Path
    family: str
    letters: frozenset[int] = field(repr=False)  # code points that have a glyph
    scripts: tuple[str, ...]  # keys of SAMPLE_LETTERS, or "other"
    is_handwriting: bool  # imitates it

    def font(self, pixels: int, script: str = "latin") -> ImageFont.FreeTypeFont:
        """The font at an em of `pixels`, opened for Pillow."""
        return _open_font(str(self.path), pixels, script in SHAPED_SCRIPTS and features.check("raqm"))

    def covers(self, text: str) -> bool:
        """Whether it has a glyph for every letter of `text`; blanks do not count."""
        return all(ord(letter) in self.letters or letter == " " for letter in text)


class FontBook:
    """Faces to draw a page with; `choose` gives rare scripts and small families a fair share."""

    def __init__(self, faces: Sequence[Face]) -> None:
        if not faces:
            raise DataError(f"no usable font; on Debian: apt-get install {PACKAGES}")
        self.faces = tuple(faces)
        self._by_script: dict[str, dict[str, list[Face]]] = {}
        for face in faces:
            for script in face.scripts:
                self._by_script.setdefault(script, {}).setdefault(face.family, []).append(face)
        self.scripts = tuple(sorted(self._by_script))

    @classmethod
    def installed(cls, split: Split, folders: Iterable[Path] = FOLDERS) -> "FontBook":
        """All usable fonts below `folders` whose family belongs to `split`; DataError if there are none."""
        folders = tuple(folders)
        files = (path for folder in folders for path in sorted(folder.rglob("*")))
        faces = [
            face for path in files if path.suffix.lower() in {".ttf", ".otf", ".ttc"} and (face := read_face(path))
        ]
        if not faces:
            names = ", ".join(str(folder) for folder in folders)
            raise DataError(f"no usable font below {names}; on Debian: apt-get install {PACKAGES}")
        split_faces = [face for face in faces if split_of(face.family) == split]
        if not split_faces:
            raise DataError(
                f"none of {len({f.family for f in faces})} font families falls to the {split} split; "
                f"more fonts are needed, on Debian: apt-get install {PACKAGES}"
            )
        return cls(split_faces)

    def choose(self, rng: np.random.Generator, script: str, *, is_handwriting: bool = False) -> Face:
        """A random family that covers `script`, then a face of it; of handwriting or of print, if there is one."""
        families = self._by_script[script]
        names = [name for name in families if families[name][0].is_handwriting == is_handwriting] or list(families)
        faces = families[names[rng.integers(len(names))]]
        return faces[rng.integers(len(faces))]


def split_of(family: str) -> Split:
    """The split of a font family, from its name in lower case."""
    number = int(hashlib.sha256(family.lower().encode()).hexdigest()[:8], 16) % 20
    return "validation" if number == 18 else "test" if number == 19 else "train"


@lru_cache(maxsize=4096)
def read_face(path: Path) -> Face | None:
    """The face of a font file; None if it cannot be read, has no outlines, no Unicode map, or covers no script."""
    try:
        with path.open("rb") as file, TTFont(file, lazy=True, fontNumber=0) as font:
            if not {"glyf", "CFF ", "CFF2"} & set(font.keys()):
                return None
            letters = frozenset(font.getBestCmap() or ())
            names = font["name"]
            family = names.getDebugName(16) or names.getDebugName(1) or path.stem
    except (TTLibError, OSError, KeyError, ValueError, AssertionError, IndexError) as error:
        logging.getLogger(__name__).info("%s skipped: %s", path, error)
        return None
    scripts = [script for script, sample in SAMPLE_LETTERS.items() if letters.issuperset(map(ord, sample))]
    # Other scripts: only fonts made for one of them, and only where "latin" says nothing about the rest.
    code_points = [code for code in letters if code > 0x2E7F or 0x0530 <= code < 0x1D00]
    if not scripts and sum(unicodedata.category(chr(code)) == "Lo" for code in code_points) >= 20:
        scripts = ["other"]
    if not scripts:
        return None
    family = _YOZ.sub("YOz", " ".join(_STYLES.sub(" ", family).replace("CJK JP", "CJK").split())) or path.stem
    return Face(
        path, family, letters, tuple(scripts), bool(_HANDWRITING.search(family) or _HANDWRITING.search(path.stem))
    )


@lru_cache(maxsize=512)
def _open_font(path: str, pixels: int, is_shaped: bool) -> ImageFont.FreeTypeFont:
    engine = ImageFont.Layout.RAQM if is_shaped else ImageFont.Layout.BASIC
    return ImageFont.truetype(path, pixels, layout_engine=engine)
