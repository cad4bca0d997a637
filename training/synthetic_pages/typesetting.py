"""Draws clean pages: print, tables, forms, drawings and handwriting, in many fonts and scripts; paper is white 255.

columns -> blocks (paragraph, heading, list, table, form, box, drawing, figure, handwriting) -> text layer and stroke
layer -> the darker of both -> one page in five as a scanner would see it: turned a little, softened, resampled

The page is the *target* of denoising: a noisy version of it is made pixel by pixel and never moves its ink.
"""

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from training.synthetic_pages import strokes
from training.synthetic_pages.fonts import Face, FontBook
from training.synthetic_pages.text import UNSPACED, Prose, alphabet

Page = NDArray[np.uint8]  # [H,W], white 255

# How often a script is chosen, where the fonts allow it; all others share one tenth.
COMMON = {"latin": 5.0, "cyrillic": 1.0, "greek": 0.7, "han": 0.8, "kana": 0.7, "hangul": 0.6, "arabic": 0.6}
GREYEST = 28  # em in pixels: larger letters are never grey, which would look like the stains that are to go
SMALLEST, LARGEST = 10, 110  # em in pixels: an x-height of about 5 to 60


def page(rng: np.random.Generator, height: int, width: int, fonts: FontBook, text: Prose) -> Page:
    """One clean page, uint8 [height,width]; the same generator state, fonts and text give the same page."""
    sheet = _Sheet(rng, height, width, fonts, text)
    sheet.fill()
    clean: Page = np.minimum(np.asarray(sheet.print), sheet.strokes)
    if rng.random() < 0.2:
        clean = _scanned(rng, clean)
    return clean


def _scanned(rng: np.random.Generator, clean: Page) -> Page:
    """Turned by up to 3 degrees, scaled by up to 15 %, softened; paper stays exactly white."""
    height, width = clean.shape
    if rng.random() < 0.7:
        angle, scale = float(rng.normal(0, 1.2)), float(rng.uniform(0.85, 1.15))
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale)
        clean = cv2.warpAffine(clean, turn, (width, height), flags=cv2.INTER_LINEAR, borderValue=(255,)).astype(
            np.uint8
        )
    if rng.random() < 0.5:
        clean = cv2.GaussianBlur(clean, (0, 0), float(rng.uniform(0.3, 0.8))).astype(np.uint8)
    if rng.random() < 0.4:
        share = float(rng.uniform(0.6, 0.95))
        small = cv2.resize(clean, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        clean = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    return clean


def _thinness(face: Face, script: str, pixels: int) -> float:
    """How far the darkest tenth of a letter's pixels stays from full ink, 0 (black) to 1 (nothing)."""
    sample = "".join(letter for letter in alphabet(script, face) if face.covers(letter))[:12]
    mask = face.font(pixels, script).getmask(sample)
    drawn = np.asarray(mask, np.uint8)
    drawn = drawn[drawn > 16]
    return 1 - float(np.percentile(drawn, 90)) / 255 if drawn.size else 1.0


@dataclass
class _Style:
    face: Face
    script: str
    pixels: int  # em
    grey: int

    @property
    def font(self) -> ImageFont.FreeTypeFont:
        return self.face.font(self.pixels, self.script)

    @property
    def blank(self) -> str:
        return "" if self.script in UNSPACED else " "


class _Sheet:
    """A page while it is being filled, column by column, from top to bottom."""

    def __init__(self, rng: np.random.Generator, height: int, width: int, fonts: FontBook, text: Prose) -> None:
        self.rng, self.height, self.width, self.fonts, self.text = rng, height, width, fonts, text
        self.print = Image.new("L", (width, height), 255)
        self.draw = ImageDraw.Draw(self.print)
        self.strokes = np.full((height, width), 255, np.uint8)
        self.pencil = rng.random() < 0.03  # the whole page in grey
        self.body = self.style()

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def ink(self) -> int:
        """Mostly black, sometimes dark grey, rarely pencil."""
        if self.pencil or self.chance(0.02):
            return int(self.rng.integers(80, 165))
        return int(self.rng.integers(0, 25)) if self.chance(0.85) else int(self.rng.integers(25, 80))

    def style(self) -> _Style:
        rng, fonts = self.rng, self.fonts
        weights = np.array([COMMON.get(script, 0.3) for script in fonts.scripts])
        script = fonts.scripts[rng.choice(len(weights), p=weights / weights.sum())]
        face = fonts.choose(rng, script, hand=self.chance(0.15))
        pixels = int(SMALLEST * (LARGEST / SMALLEST) ** rng.beta(1.3, 2.6))
        pixels, grey = max(pixels, 13) if script in UNSPACED else pixels, self.ink()
        while _thinness(face, script, pixels) > 0.45 and pixels < 40:  # hairlines would fade from the target itself
            pixels, grey = int(pixels * 1.3) + 1, min(grey, 60)
        return _Style(face, script, pixels, grey if pixels <= GREYEST else min(grey, 60))

    def fill(self) -> None:
        rng = self.rng
        margin = int(rng.uniform(-0.03, 0.08) * self.width)  # below 0: a crop from the middle of a larger page
        columns = 1 if self.body.pixels > 30 else int(rng.choice([1, 1, 1, 2, 2, 3]))
        gap = int(rng.uniform(8, 28))
        span = (self.width - 2 * margin - gap * (columns - 1)) // columns
        kinds = [self.paragraph, self.heading, self.bullets, self.table, self.form, self.boxed]
        kinds += [self.sketch, self.written, self.inverted, self.picture]
        weights = np.array([5, 1.2, 0.8, 0.8, 0.4, 0.3, 0.35, 0.5, 0.12, 0.06])
        only_written = self.chance(0.07)
        for column in range(columns):
            left = margin + column * (span + gap)
            y = margin + int(rng.uniform(-0.3, 0.5) * self.body.pixels)
            while y < self.height:
                kind = self.written if only_written else kinds[rng.choice(len(kinds), p=weights / weights.sum())]
                if self.chance(0.12):
                    self.body = self.style()
                y = kind(left, y, span) + int(self.body.pixels * rng.uniform(0.2, 1.2))
            if column and self.chance(0.25):
                strokes.stroke(self.strokes, [(left - gap / 2, margin), (left - gap / 2, self.height)], self.ink())
        if self.chance(0.12):
            box = self._somewhere()
            strokes.scribble(self.strokes, rng, box, int(rng.integers(20, 190)), int(rng.integers(1, 3)))

    # --- blocks: (left, top, width) -> bottom ---------------------------------------------------------------

    def paragraph(self, x: int, y: int, span: int) -> int:
        rng, style = self.rng, self.body
        count = int(span / style.pixels * rng.uniform(1, 7)) + 3
        words = self.text.words(rng, style.script, style.face, count)
        leading = style.pixels * rng.uniform(1.1, 1.7)
        return self._lines(style, words, x, y, span, leading, indent=int(self.chance(0.4) * 2 * style.pixels))

    def _lines(
        self, style: _Style, words: list[str], x: int, y: int, span: int, leading: float, *, indent: int = 0
    ) -> int:
        """Breaks `words` at `span` pixels; ragged, or justified as a page is once."""
        font, blank = style.font, style.blank
        space = font.getlength(" ") if blank else 0.0
        justify = bool(blank) and self.chance(0.5)
        underline = self.chance(0.04)
        line: list[str] = []
        used = float(indent)
        top = float(y)

        def put(*, last: bool) -> None:
            left = x + indent
            if justify and not last and len(line) > 2:
                widths = [font.getlength(word) for word in line]
                step = min((span - indent - sum(widths)) / (len(line) - 1), 3 * space)
                at = float(left)
                for word, wide in zip(line, widths, strict=True):
                    self.draw.text((at, top), word, style.grey, font)
                    at += wide + step
            else:
                self.draw.text((left, top), blank.join(line), style.grey, font)
            if underline:
                under = top + style.pixels * 1.15
                strokes.stroke(self.strokes, [(left, under), (x + used, under)], style.grey)

        for word in words:
            wide = font.getlength(word)
            if line and used + wide > span:
                put(last=False)
                line, used, indent, top = [], 0.0, 0, top + leading
                if top > self.height:
                    return int(top)
            line.append(word)
            used += wide + space
        if line:
            put(last=True)
        return int(top + leading)

    def heading(self, x: int, y: int, span: int) -> int:
        rng = self.rng
        face = self.fonts.choose(rng, self.body.script) if self.chance(0.4) else self.body.face
        pixels = min(int(self.body.pixels * rng.uniform(1.2, 2.5)), LARGEST)
        style = _Style(face, self.body.script, pixels, self.body.grey)
        words = self.text.words(rng, style.script, face, int(rng.integers(1, 7)))
        bottom = self._lines(style, words, x, y, span, pixels * 1.25)
        if self.chance(0.25):
            strokes.stroke(self.strokes, [(x, bottom), (x + span, bottom)], style.grey, int(rng.integers(1, 4)))
        return bottom + 2

    def bullets(self, x: int, y: int, span: int) -> int:
        rng, style = self.rng, self.body
        size = style.pixels
        numbered = self.chance(0.4) and style.face.covers("0123456789.")
        for number in range(1, int(rng.integers(3, 8))):
            if numbered:
                self.draw.text((x, y), f"{number}.", style.grey, style.font)
            else:
                middle = (int(x + size * 0.5), int(y + size * 0.65))
                hollow = int(rng.integers(2)) or -1
                cv2.circle(self.strokes, middle, max(size // 7, 2), style.grey, hollow, cv2.LINE_AA)
            words = self.text.words(rng, style.script, style.face, int(rng.integers(2, 12)))
            y = self._lines(style, words, int(x + 1.6 * size), y, int(span - 1.6 * size), size * 1.3)
            if y > self.height:
                break
        return y

    def table(self, x: int, y: int, span: int) -> int:
        """Ruled fully, across only, or not at all; words or numbers in the cells."""
        rng, style = self.rng, self.body
        style = _Style(style.face, style.script, min(style.pixels, 26), style.grey)
        columns, rows = int(rng.integers(2, 7)), int(rng.integers(3, 10))
        row = int(style.pixels * rng.uniform(1.4, 2.0))
        shares = np.cumsum(rng.dirichlet(np.full(columns, 6))).tolist()
        edges = [x + share * (span - 2) for share in (0.0, *shares)]
        numbers = style.face.covers("0123456789.,") and self.chance(0.6)
        width, ruled = int(rng.integers(1, 3)), int(rng.integers(3))
        for line in range(rows):
            for left, right in pairwise(edges):
                if numbers and left > x and line:
                    cell = f"{10 ** rng.uniform(0, 5):,.{int(rng.integers(3))}f}"
                else:
                    cell = self.text.words(rng, style.script, style.face, 1)[0]
                if style.font.getlength(cell) < right - left - 4:
                    self.draw.text((left + 3, y + line * row + 1), cell, style.grey, style.font)
        bottom = y + rows * row
        if ruled:
            for line in range(rows + 1):
                strokes.stroke(self.strokes, [(x, y + line * row), (x + span - 2, y + line * row)], style.grey, width)
        if ruled == 2:
            for edge in edges:
                strokes.stroke(self.strokes, [(edge, y), (edge, bottom)], style.grey, width)
        return bottom + 4

    def form(self, x: int, y: int, span: int) -> int:
        """Label and a line to write on, dotted or thin; some are filled in by hand, some have a box to tick."""
        rng, style = self.rng, self.body
        row = int(max(style.pixels * 1.8, 26))
        for _ in range(int(rng.integers(2, 6))):
            label = style.blank.join(self.text.words(rng, style.script, style.face, 2))
            self.draw.text((x, y), label, style.grey, style.font)
            left, base = int(x + style.font.getlength(label) + 8), int(y + style.pixels * 1.1)
            if left < x + span - 30:
                if self.chance(0.5):
                    for at in range(left, x + span, 4):
                        strokes.stroke(self.strokes, [(at, base), (at + 0.5, base)], style.grey)
                else:
                    strokes.stroke(self.strokes, [(left, base), (x + span, base)], int(rng.integers(0, 170)))
                if self.chance(0.5):
                    box = (left, base - 34, x + span, base + 14)
                    strokes.handwriting(self.strokes, rng, box, int(rng.integers(40, 190)), int(rng.integers(1, 3)))
            y += row
        return y

    def boxed(self, x: int, y: int, span: int) -> int:
        bottom = self.paragraph(x + 8, y + 6, span - 16)
        corners = [(x, y), (x + span, y), (x + span, bottom), (x, bottom), (x, y)]
        strokes.stroke(self.strokes, corners, self.body.grey, int(self.rng.integers(1, 4)))
        return bottom + 6

    def sketch(self, x: int, y: int, span: int) -> int:
        bottom = y + int(self.rng.uniform(60, 200))
        strokes.drawing(self.strokes, self.rng, (x + 4, y + 4, x + span - 4, bottom), self.ink())
        return bottom + 4

    def written(self, x: int, y: int, span: int) -> int:
        """Procedural handwriting, from ballpoint to faint pencil; sometimes on ruled or squared paper."""
        rng = self.rng
        bottom = y + int(rng.uniform(60, 260))
        if self.chance(0.15):
            for line in np.arange(y, bottom, rng.uniform(14, 30)).tolist():
                strokes.stroke(self.strokes, [(x, line), (x + span, line)], int(rng.integers(120, 200)))
        grey = int(rng.integers(20, 90) if self.chance(0.6) else rng.integers(90, 180))
        strokes.handwriting(self.strokes, rng, (x, y, x + span, bottom), grey, 1 + self.chance(0.45))
        return bottom

    def inverted(self, x: int, y: int, span: int) -> int:
        style = self.body
        height = int(style.pixels * 1.7)
        self.draw.rectangle((x, y, x + span, y + height), style.grey)
        words = style.blank.join(self.text.words(self.rng, style.script, style.face, 4))
        self.draw.text((x + 6, y + style.pixels * 0.2), words, 255, style.font)
        return y + height + 4

    def picture(self, x: int, y: int, span: int) -> int:
        top, bottom = max(y, 0), min(y + int(self.rng.uniform(60, 180)), self.height)
        left, right = max(x, 0), min(x + span, self.width)
        if bottom - top > 20 and right - left > 20:
            strokes.figure(self.strokes, self.rng, (left, top, right, bottom))
        return bottom + 6

    def _somewhere(self) -> tuple[int, int, int, int]:
        x, y = int(self.rng.uniform(0, self.width * 0.7)), int(self.rng.uniform(0, self.height * 0.8))
        return x, y, x + int(self.rng.uniform(40, 200)), y + int(self.rng.uniform(20, 90))
