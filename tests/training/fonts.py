"""Fonts that every environment of the training package has: those that matplotlib brings."""

from functools import cache
from pathlib import Path

import matplotlib as mpl

from training.synthetic_pages.writing.fonts import FontBook

FOLDER = Path(mpl.get_data_path()) / "fonts" / "ttf"


@cache
def book() -> FontBook:
    return FontBook.installed("train", [FOLDER])
