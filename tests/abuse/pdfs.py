"""Spoilt PDFs: each is drawn, or refused in a sentence, in its time; the service's own process sees none of it.

python -m tests.abuse.pdfs --mutants 500
"""

import argparse
import io
import re
import sys
import time
from collections import Counter

import numpy as np
import pikepdf
from PIL import Image

from service.codecs.pdf import Limits, Reader
from service.errors import InvalidInput, TooLarge

LIMITS = Limits(pages=20, pixels=2_000_000, side=5_000, seconds=5, memory=256 << 20)
KINDS = ("flip", "cut", "number", "token", "splice")
_TOKENS = re.compile(rb"/[A-Za-z]+|obj|endobj|stream|endstream|xref|trailer|<<|>>")


def samples() -> list[bytes]:
    """A scan as JPEG, one as a fax, and a page of text and lines with a compressed table of objects."""
    pixels = np.random.default_rng(0).integers(0, 256, (200, 150), dtype=np.uint8)
    made = []
    for mode in ("L", "1"):
        buffer = io.BytesIO()
        Image.fromarray(pixels).convert(mode).save(
            buffer, "PDF", save_all=True, append_images=[Image.new(mode, (90, 90))]
        )
        made.append(buffer.getvalue())
    document = pikepdf.new()
    page = document.add_blank_page(page_size=(200, 100))
    font = pikepdf.Dictionary(Type=pikepdf.Name.Font, Subtype=pikepdf.Name.Type1, BaseFont=pikepdf.Name.Helvetica)
    page.Resources = pikepdf.Dictionary(Font=pikepdf.Dictionary(F=font))
    page.Contents = pikepdf.Stream(document, b"BT /F 20 Tf 20 40 Td (What is drawn) Tj ET 0 0 m 200 100 l 5 w S")
    buffer = io.BytesIO()
    document.save(buffer, object_stream_mode=pikepdf.ObjectStreamMode.generate)
    return [*made, buffer.getvalue()]


def spoilt(data: bytes, kind: str, generator: np.random.Generator) -> bytes:
    """One thing is wrong with it, or a few."""
    changed = bytearray(data)
    if kind == "flip":
        for place in generator.integers(0, len(data), int(generator.integers(1, 20))):
            changed[place] = generator.integers(0, 256)
    elif kind == "cut":
        del changed[int(generator.integers(20, len(data))) :]
    elif kind == "splice":
        start, end = sorted(generator.integers(0, len(data), 2))
        changed[start:end] = data[end - start :][: int(generator.integers(0, 2000))]
    else:
        found = list(re.finditer(rb"\d+", data) if kind == "number" else _TOKENS.finditer(data))
        one, other = (found[int(place)] for place in generator.integers(0, len(found), 2))
        numbers = (b"0", b"-1", b"99999999999", b"2147483647", b"1e30", other.group())
        value = numbers[int(generator.integers(0, len(numbers)))] if kind == "number" else other.group()
        changed[one.start() : one.end()] = value
    return bytes(changed)


def run(mutants: int, seed: int = 0) -> Counter[str]:
    """What became of so many: drawn, or the refusal's first words. Anything else is raised, as is being late."""
    generator, originals = np.random.default_rng(seed), samples()
    told: Counter[str] = Counter()
    for number in range(mutants):
        data = spoilt(originals[number % len(originals)], KINDS[number // len(originals) % len(KINDS)], generator)
        reader, started = Reader(LIMITS), time.monotonic()
        try:
            for page in range(1, min(2, len(reader.open(data, 72))) + 1):
                assert reader.render_page(page, 72).pixels.size > 0
            told["drawn"] += 1
        except (InvalidInput, TooLarge) as refusal:
            told[re.sub(r"\d+", "N", refusal.detail.partition(":")[0])[:60]] += 1
        finally:
            reader.close()
        assert time.monotonic() - started < 4 * LIMITS.seconds, f"mutant {number} of seed {seed}"
        assert reader._process.poll() is not None
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    for words, count in run(asked.mutants, asked.seed).most_common():
        print(f"{count:6} {words}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
