"""Typesetting of clean pages: print, tables, forms, line art and handwriting, in many fonts and scripts.

columns -> blocks (paragraph, heading, list, table, form, box, drawing, figure, handwriting) -> text layer and stroke
layer -> the darker of both -> one page in five as after a scan: rotated a little, blurred, resampled

Paper is white 255. The page is the *target* of denoising: its noisy version is made pixel by pixel and never moves ink.
"""

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from training.synthetic_pages.writing import strokes
from training.synthetic_pages.writing.fonts import Face, FontBook
from training.synthetic_pages.writing.text import UNSPACED, TextCorpus, alphabet

Page = NDArray[np.uint8]  # [H,W], white 255

# Weights of scripts, where the fonts cover them; every other script has 0.3.
SCRIPT_WEIGHTS = {"latin": 5.0, "cyrillic": 1.0, "greek": 0.7, "han": 0.8, "kana": 0.7, "hangul": 0.6, "arabic": 0.6}
MAX_GREY_SIZE = 28  # em in pixels: larger letters are never grey, which would look like the stains to remove
MIN_SIZE, MAX_SIZE = 10, 110  # em in pixels: an x-height of about 5 to 60


def draw_page(rng: np.random.Generator, height: int, width: int, fonts: FontBook, text: TextCorpus) -> Page:
    """One clean page, uint8 [height,width]; the same generator state, fonts and text give the same page."""
    clean: Page = np.minimum(*draw_layers(rng, height, width, fonts, text))
    if rng.random() < 0.2:
        clean = _rescan(rng, clean)
    return clean


def draw_layers(
    rng: np.random.Generator, height: int, width: int, fonts: FontBook, text: TextCorpus
) -> tuple[Page, Page]:
    """One clean page in two layers, uint8 [height,width] each: what is printed, and strokes: lines and handwriting."""
    sheet = _Sheet(rng, height, width, fonts, text)
    sheet.fill()
    return np.array(sheet.print), sheet.strokes


def _rescan(rng: np.random.Generator, clean: Page) -> Page:
    """Rotated by a few degrees, scaled by up to 15 %, blurred, resampled at random; paper stays exactly white."""
    height, width = clean.shape
    if rng.random() < 0.7:
        angle, scale = float(rng.normal(0, 1.2)), float(rng.uniform(0.85, 1.15))
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale)
        clean = cv2.warpAffine(clean, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=(255,)).astype(
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
    mask = np.asarray(face.font(pixels, script).getmask(sample), np.uint8)
    ink = mask[mask > 16]
    return 1 - float(np.percentile(ink, 90)) / 255 if ink.size else 1.0


@dataclass
class _Style:
    """Face, script, size and grey of a text."""

    face: Face
    script: str
    pixels: int  # em
    grey: int

    @property
    def font(self) -> ImageFont.FreeTypeFont:
        return self.face.font(self.pixels, self.script)

    @property
    def blank(self) -> str:
        """What stands between two words."""
        return "" if self.script in UNSPACED else " "


class _Sheet:
    """A page while it is being filled, column by column, from top to bottom."""

    def __init__(self, rng: np.random.Generator, height: int, width: int, fonts: FontBook, text: TextCorpus) -> None:
        self.rng, self.height, self.width, self.fonts, self.text = rng, height, width, fonts, text
        self.print = Image.new("L", (width, height), 255)
        self.draw = ImageDraw.Draw(self.print)
        self.strokes = np.full((height, width), 255, np.uint8)
        self.is_pencil = rng.random() < 0.03  # all ink of the page is grey
        self.body = self.choose_style()

    def chance(self, share: float) -> bool:
        """True with probability `share`."""
        return bool(self.rng.random() < share)

    def choose_grey(self) -> int:
        """Mostly black, sometimes dark grey, rarely pencil."""
        if self.is_pencil or self.chance(0.02):
            return int(self.rng.integers(80, 165))
        return int(self.rng.integers(0, 25)) if self.chance(0.85) else int(self.rng.integers(25, 80))

    def choose_style(self) -> _Style:
        """A random script by SCRIPT_WEIGHTS, a face of it, and a size at which its strokes are dark enough."""
        rng, fonts = self.rng, self.fonts
        weights = np.array([SCRIPT_WEIGHTS.get(script, 0.3) for script in fonts.scripts])
        script = fonts.scripts[rng.choice(len(weights), p=weights / weights.sum())]
        face = fonts.choose(rng, script, is_handwriting=self.chance(0.25))
        pixels = int(MIN_SIZE * (MAX_SIZE / MIN_SIZE) ** rng.beta(1.3, 2.6))
        pixels, grey = max(pixels, 13) if script in UNSPACED else pixels, self.choose_grey()
        while _thinness(face, script, pixels) > 0.45 and pixels < 40:  # hairlines would be too faint to be a target
            pixels, grey = int(pixels * 1.3) + 1, min(grey, 60)
        return _Style(face, script, pixels, grey if pixels <= MAX_GREY_SIZE else min(grey, 60))

    def fill(self) -> None:
        """Columns of random blocks from top to bottom; sometimes a scribble over them."""
        rng = self.rng
        margin = int(rng.uniform(-0.03, 0.08) * self.width)  # below 0: a crop from the middle of a larger page
        columns = 1 if self.body.pixels > 30 else int(rng.choice([1, 1, 1, 2, 2, 3]))
        gap = int(rng.uniform(8, 28))
        span = (self.width - 2 * margin - gap * (columns - 1)) // columns
        blocks = [self.add_paragraph, self.add_heading, self.add_bullets, self.add_table, self.add_form, self.add_box]
        blocks += [self.add_line_art, self.add_handwriting, self.add_inverted, self.add_figure]
        weights = np.array([5, 1.2, 0.8, 0.8, 0.4, 0.3, 0.35, 0.5, 0.12, 0.06])
        is_handwritten = self.chance(0.12)
        for column in range(columns):
            x = margin + column * (span + gap)
            y = margin + int(rng.uniform(-0.3, 0.5) * self.body.pixels)
            while y < self.height:
                add_block = (
                    self.add_handwriting
                    if is_handwritten
                    else blocks[rng.choice(len(blocks), p=weights / weights.sum())]
                )
                if self.chance(0.12):
                    self.body = self.choose_style()
                y = add_block(x, y, span) + int(self.body.pixels * rng.uniform(0.2, 1.2))
            if column and self.chance(0.25):
                strokes.draw_stroke(
                    self.strokes, [(x - gap / 2, margin), (x - gap / 2, self.height)], self.choose_grey()
                )
        if self.chance(0.12):
            box = self._random_box()
            strokes.draw_scribble(self.strokes, rng, box, int(rng.integers(20, 190)), int(rng.integers(1, 3)))

    # --- blocks: draw below `y`, from `x`, `span` pixels wide; return the bottom ---------------------------------

    def add_paragraph(self, x: int, y: int, span: int) -> int:
        rng, style = self.rng, self.body
        count = int(span / style.pixels * rng.uniform(1, 7)) + 3
        words = self.text.draw_words(rng, style.script, style.face, count)
        leading = style.pixels * rng.uniform(1.1, 1.7)
        return self._add_lines(style, words, x, y, span, leading, indent=int(self.chance(0.4) * 2 * style.pixels))

    def _add_lines(
        self, style: _Style, words: list[str], x: int, y: int, span: int, leading: float, *, indent: int = 0
    ) -> int:
        """Breaks `words` into lines of `span` pixels, ragged or justified; `indent` applies to the first line."""
        font, blank = style.font, style.blank
        space = font.getlength(" ") if blank else 0.0
        is_justified = bool(blank) and self.chance(0.5)
        is_underlined = self.chance(0.04)
        line: list[str] = []
        line_width = float(indent)
        top = float(y)

        def draw_line(*, is_last: bool) -> None:
            start = x + indent
            if is_justified and not is_last and len(line) > 2:
                widths = [font.getlength(word) for word in line]
                step = min((span - indent - sum(widths)) / (len(line) - 1), 3 * space)
                word_x = float(start)
                for word, width in zip(line, widths, strict=True):
                    self.draw.text((word_x, top), word, style.grey, font)
                    word_x += width + step
            else:
                self.draw.text((start, top), blank.join(line), style.grey, font)
            if is_underlined:
                line_y = top + style.pixels * 1.15
                strokes.draw_stroke(self.strokes, [(start, line_y), (x + line_width, line_y)], style.grey)

        for word in words:
            width = font.getlength(word)
            if line and line_width + width > span:
                draw_line(is_last=False)
                line, line_width, indent, top = [], 0.0, 0, top + leading
                if top > self.height:
                    return int(top)
            line.append(word)
            line_width += width + space
        if line:
            draw_line(is_last=True)
        return int(top + leading)

    def add_heading(self, x: int, y: int, span: int) -> int:
        rng = self.rng
        face = self.fonts.choose(rng, self.body.script) if self.chance(0.4) else self.body.face
        pixels = min(int(self.body.pixels * rng.uniform(1.2, 2.5)), MAX_SIZE)
        style = _Style(face, self.body.script, pixels, self.body.grey)
        words = self.text.draw_words(rng, style.script, face, int(rng.integers(1, 7)))
        bottom = self._add_lines(style, words, x, y, span, pixels * 1.25)
        if self.chance(0.25):
            strokes.draw_stroke(self.strokes, [(x, bottom), (x + span, bottom)], style.grey, int(rng.integers(1, 4)))
        return bottom + 2

    def add_bullets(self, x: int, y: int, span: int) -> int:
        rng, style = self.rng, self.body
        size = style.pixels
        is_numbered = self.chance(0.4) and style.face.covers("0123456789.")
        for number in range(1, int(rng.integers(3, 8))):
            if is_numbered:
                self.draw.text((x, y), f"{number}.", style.grey, style.font)
            else:
                centre = (int(x + size * 0.5), int(y + size * 0.65))
                thickness = int(rng.integers(2)) or -1  # -1: filled
                cv2.circle(self.strokes, centre, max(size // 7, 2), style.grey, thickness, cv2.LINE_AA)
            words = self.text.draw_words(rng, style.script, style.face, int(rng.integers(2, 12)))
            y = self._add_lines(style, words, int(x + 1.6 * size), y, int(span - 1.6 * size), size * 1.3)
            if y > self.height:
                break
        return y

    def add_table(self, x: int, y: int, span: int) -> int:
        """Words or numbers in cells; ruled fully, by horizontal lines only, or not at all."""
        rng, style = self.rng, self.body
        style = _Style(style.face, style.script, min(style.pixels, 26), style.grey)
        columns, rows = int(rng.integers(2, 7)), int(rng.integers(3, 10))
        row_height = int(style.pixels * rng.uniform(1.4, 2.0))
        shares = np.cumsum(rng.dirichlet(np.full(columns, 6))).tolist()
        edges = [x + share * (span - 2) for share in (0.0, *shares)]
        has_numbers = style.face.covers("0123456789.,") and self.chance(0.6)
        width, rules = int(rng.integers(1, 3)), int(rng.integers(3))
        for line in range(rows):
            for start, end in pairwise(edges):
                if has_numbers and start > x and line:
                    cell = f"{10 ** rng.uniform(0, 5):,.{int(rng.integers(3))}f}"
                else:
                    cell = self.text.draw_words(rng, style.script, style.face, 1)[0]
                if style.font.getlength(cell) < end - start - 4:
                    self.draw.text((start + 3, y + line * row_height + 1), cell, style.grey, style.font)
        bottom = y + rows * row_height
        if rules:
            for line in range(rows + 1):
                strokes.draw_stroke(
                    self.strokes, [(x, y + line * row_height), (x + span - 2, y + line * row_height)], style.grey, width
                )
        if rules == 2:
            for edge in edges:
                strokes.draw_stroke(self.strokes, [(edge, y), (edge, bottom)], style.grey, width)
        return bottom + 4

    def add_form(self, x: int, y: int, span: int) -> int:
        """Labels, each with a dotted or thin line to write on; some are filled in by hand."""
        rng, style = self.rng, self.body
        row_height = int(max(style.pixels * 1.8, 26))
        for _ in range(int(rng.integers(2, 6))):
            label = style.blank.join(self.text.draw_words(rng, style.script, style.face, 2))
            self.draw.text((x, y), label, style.grey, style.font)
            start, base = int(x + style.font.getlength(label) + 8), int(y + style.pixels * 1.1)
            if start < x + span - 30:
                if self.chance(0.5):
                    for dot in range(start, x + span, 4):
                        strokes.draw_stroke(self.strokes, [(dot, base), (dot + 0.5, base)], style.grey)
                else:
                    strokes.draw_stroke(self.strokes, [(start, base), (x + span, base)], int(rng.integers(0, 170)))
                if self.chance(0.5):
                    box = (start, base - 34, x + span, base + 14)
                    strokes.draw_handwriting(
                        self.strokes, rng, box, int(rng.integers(40, 190)), int(rng.integers(1, 3))
                    )
            y += row_height
        return y

    def add_box(self, x: int, y: int, span: int) -> int:
        bottom = self.add_paragraph(x + 8, y + 6, span - 16)
        corners = [(x, y), (x + span, y), (x + span, bottom), (x, bottom), (x, y)]
        strokes.draw_stroke(self.strokes, corners, self.body.grey, int(self.rng.integers(1, 4)))
        return bottom + 6

    def add_line_art(self, x: int, y: int, span: int) -> int:
        bottom = y + int(self.rng.uniform(60, 200))
        strokes.draw_line_art(self.strokes, self.rng, (x + 4, y + 4, x + span - 4, bottom), self.choose_grey())
        return bottom + 4

    def add_handwriting(self, x: int, y: int, span: int) -> int:
        """Procedural handwriting, from ballpoint to faint pencil; sometimes on ruled paper."""
        rng = self.rng
        bottom = y + int(rng.uniform(60, 260))
        if self.chance(0.15):
            for line in np.arange(y, bottom, rng.uniform(14, 30)).tolist():
                strokes.draw_stroke(self.strokes, [(x, line), (x + span, line)], int(rng.integers(120, 200)))
        grey = int(rng.integers(20, 90) if self.chance(0.6) else rng.integers(90, 180))
        strokes.draw_handwriting(self.strokes, rng, (x, y, x + span, bottom), grey, 1 + self.chance(0.45))
        return bottom

    def add_inverted(self, x: int, y: int, span: int) -> int:
        style = self.body
        height = int(style.pixels * 1.7)
        self.draw.rectangle((x, y, x + span, y + height), style.grey)
        words = style.blank.join(self.text.draw_words(self.rng, style.script, style.face, 4))
        self.draw.text((x + 6, y + style.pixels * 0.2), words, 255, style.font)
        return y + height + 4

    def add_figure(self, x: int, y: int, span: int) -> int:
        top, bottom = max(y, 0), min(y + int(self.rng.uniform(60, 180)), self.height)
        start, end = max(x, 0), min(x + span, self.width)
        if bottom - top > 20 and end - start > 20:
            strokes.draw_figure(self.strokes, self.rng, (start, top, end, bottom))
        return bottom + 6

    def _random_box(self) -> tuple[int, int, int, int]:
        x, y = int(self.rng.uniform(0, self.width * 0.7)), int(self.rng.uniform(0, self.height * 0.8))
        return x, y, x + int(self.rng.uniform(40, 200)), y + int(self.rng.uniform(20, 90))
