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
