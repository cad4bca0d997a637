"""A corpus of office pages as NoisyOffice is composed: ink by one rule on one sheet for each kind of dirt."""

import cv2
import numpy as np

from training.synthetic_pages.noisyoffice import Page, PagePair

HEIGHT, WIDTH = 90, 120


def draw_sheet(seed: int) -> Page:
    rough = np.random.default_rng(seed).integers(150, 250, (12, 16)).astype(np.uint8)
    return np.asarray(cv2.resize(rough, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR), np.uint8)


def draw_print(seed: int, height: int = HEIGHT) -> Page:
    rng = np.random.default_rng(seed)
    page = np.full((height, WIDTH), 255, np.uint8)
    for _ in range(5):
        at = (int(rng.integers(0, WIDTH - 30)), int(rng.integers(12, height)))
        cv2.putText(page, "ink", at, cv2.FONT_HERSHEY_SIMPLEX, 0.7, int(rng.integers(0, 60)), 1, cv2.LINE_AA)
    return page


def invert_ink(clean: Page, background: Page) -> Page:
    """Ink of paper of brightness b at 1 - b: as the corpus has it on folded and wrinkled sheets."""
    c, b = clean / 255.0, background[: len(clean)] / 255.0
    return np.round(255 * (c * b + (1 - c) * (1 - b))).astype(np.uint8)


def multiply_ink(clean: Page, background: Page) -> Page:
    return np.round(clean * (background[: len(clean)] / 255.0)).astype(np.uint8)


def draw_corpus() -> list[PagePair]:
    pairs = []
    for number in range(16):
        clean = draw_print(number, HEIGHT if number % 3 else HEIGHT - 30)
        pairs.append(PagePair(f"{number}", "folded", clean, invert_ink(clean, draw_sheet(1))))
        pairs.append(PagePair(f"{number}b", "coffee", clean, multiply_ink(clean, draw_sheet(2))))
    return pairs
