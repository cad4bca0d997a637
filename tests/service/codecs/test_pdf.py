"""Reader and writer of PDFs: a process that crashes, hangs or knows no secrets; what is written is lossless."""

import io
import os
import signal
import time
from pathlib import Path

import numpy as np
import pikepdf
import pytest

from service.codecs.pdf import Limits, PageSize, Writer
from service.errors import InvalidInput
from service.imaging.picture import Picture
from tests.service.pdf_files import LIMITS, SMOOTH, open_reader, write_pdf


def test_what_is_written_is_lossless() -> None:
    pixels = np.random.default_rng(4).integers(0, 30, (77, 131, 1), dtype=np.uint8) * np.uint8(8)
    writer = Writer()
    writer.add_page(Picture(pixels), PageSize(131, 77))
    with open_reader(writer.to_bytes()) as reader:
        np.testing.assert_array_equal(reader.render_page(1, 72).pixels, pixels)


@pytest.mark.parametrize(
    ("levels", "bits"),
    [((0, 255), 1), ((255,), 1), ((10, 200), 1), ((0, 128, 255), 2), (tuple(range(0, 256, 17)), 4)],
)
def test_few_grey_levels_take_few_bits_and_lose_nothing(levels: tuple[int, ...], bits: int) -> None:
    generator = np.random.default_rng(6)
    pixels = generator.choice(np.array(levels, np.uint8), (12, 17, 1)).repeat(11, 0).repeat(7, 1)
    writer = Writer()
    writer.add_page(Picture(pixels), PageSize(pixels.shape[1], pixels.shape[0]))
    data = writer.to_bytes()
    with pikepdf.open(io.BytesIO(data)) as document:
        image = document.pages[0].Resources.XObject.Page
        assert int(image.BitsPerComponent) == bits
    with open_reader(data) as reader:
        np.testing.assert_array_equal(reader.render_page(1, 72).pixels, pixels)


def test_black_and_white_is_the_smaller_of_fax_and_flate() -> None:
    blots = np.full((600, 800, 1), 255, np.uint8)
    for y, x in np.random.default_rng(7).integers(20, 560, (60, 2)):
        blots[y : y + 13, x : x + 17] = 0
    writer = Writer()
    writer.add_page(Picture(blots), PageSize(800, 600))
    data = writer.to_bytes()
    with pikepdf.open(io.BytesIO(data)) as document:
        assert str(document.pages[0].Resources.XObject.Page.Filter) == "/CCITTFaxDecode"
    with open_reader(data) as reader:
        np.testing.assert_array_equal(reader.render_page(1, 72).pixels, blots)


@pytest.mark.parametrize("size", [PageSize(200, 100, 3), PageSize(2, 1.5), PageSize(20_000, 100, 0.5)])
def test_a_page_has_the_size_that_it_is_given(size: PageSize) -> None:
    writer = Writer()
    writer.add_page(Picture(SMOOTH[:, :, None]), size)
    with pikepdf.open(io.BytesIO(writer.to_bytes())) as document:
        (page,) = document.pages
        assert [float(number) for number in page.MediaBox] == [0, 0, size.width, size.height]
        assert float(page.get("/UserUnit", 1)) == size.unit


@pytest.mark.parametrize(
    ("number", "limits", "sentence"),
    [
        (signal.SIGSEGV, LIMITS, "page 1 of the PDF cannot be read: it ended its reader, which may have 1024 MiB"),
        (signal.SIGSTOP, Limits(10, 10**6, 10_000, 1, 1 << 30), "page 1 of the PDF takes longer than 1 s to be read"),
    ],
)
def test_a_reader_that_crashes_or_hangs_is_a_refusal(number: int, limits: Limits, sentence: str) -> None:
    with open_reader(write_pdf((SMOOTH, (40, 60))), limits) as reader:
        os.kill(reader._process.pid, number)
        started = time.monotonic()
        with pytest.raises(InvalidInput, match=sentence):
            reader.render_page(1, 72)
        assert time.monotonic() - started < 5
    assert reader._process.poll() is not None, "and it is gone"


def test_the_reader_knows_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOENCODER_KEYS", "/etc/keys")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hidden")
    with open_reader(write_pdf((SMOOTH, (40, 60)))) as reader:
        environment = Path(f"/proc/{reader._process.pid}/environ").read_bytes()
    assert b"PYTHONPATH=" in environment
    assert b"AUTOENCODER_" not in environment
    assert b"hidden" not in environment
