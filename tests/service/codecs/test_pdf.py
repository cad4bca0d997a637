"""PDFs in, cleaned PDFs out: over HTTP, from files, and what is refused. The doubles turn every pixel into 255 - it."""

import asyncio
import contextlib
import io
import os
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pikepdf
import pypdfium2
import pytest
from PIL import Image as Pillow
from starlette.testclient import TestClient

from service.app import create_app
from service.cli.main import main
from service.client import AsyncClient
from service.codecs import pdf
from service.codecs.pdf import Limits, Reader, Writer
from service.errors import InvalidInput
from service.imaging.picture import Picture
from service.settings import Settings
from tests.abuse import pdfs
from tests.service import packages as doubles
from tests.service.http import picture, refused

LIMITS = Limits(pages=10, pixels=4_000_000, side=10_000, seconds=20, memory=1 << 30)
PDF = {"Content-Type": "application/pdf"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = doubles.write_denoisers(tmp_path_factory.mktemp("models"))
    everything: Any = ("encode", "decode", "reconstruct", "denoise")
    doubles.write(folder, "small", doubles.image_graphs(), kind="denoising", operations=everything)
    return folder


@pytest.fixture(scope="module")
def client(models: Path) -> Iterator[TestClient]:
    settings = Settings(models=models, max_pixels=1_000_000, max_inside_pixels=4_000_000, pdf_dpi=72, pdf_pages=4)
    with TestClient(create_app(settings, trusted=True), raise_server_exceptions=False) as client:
        yield client


def url(model: str = "grey-negative", query: str = "") -> str:
    return f"/v1/models/{model}/denoise{query}"


def book(*pages: tuple[np.ndarray, tuple[float, float]], **rotated: int) -> bytes:
    """Pages of pictures [H,W] or [H,W,3], each with its size in points; `rotated`: page1=90."""
    made = pikepdf.new()
    for number, (pixels, size) in enumerate(pages, 1):
        height, width = pixels.shape[:2]
        space = pikepdf.Name.DeviceGray if pixels.ndim == 2 else pikepdf.Name.DeviceRGB
        image = pikepdf.Stream(
            made, pixels.tobytes(), Type=pikepdf.Name.XObject, Subtype=pikepdf.Name.Image, Width=width, Height=height,
            ColorSpace=space, BitsPerComponent=8,
        )  # fmt: skip
        page = made.add_blank_page(page_size=size)
        page.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(Im=image))
        page.Contents = pikepdf.Stream(made, b"q %f 0 0 %f 0 0 cm /Im Do Q" % size)
        page.Rotate = rotated.get(f"page{number}", 0)
    buffer = io.BytesIO()
    made.save(buffer)
    return buffer.getvalue()


def drawn(data: bytes, number: int = 0, dpi: int = 72) -> np.ndarray:
    """By PDFium's plain way."""
    page = pypdfium2.PdfDocument(data)[number]
    return np.asarray(page.render(scale=dpi / 72, rev_byteorder=True).to_numpy())


def sizes(data: bytes) -> list[tuple[float, float]]:
    document = pypdfium2.PdfDocument(data)
    return [document.get_page_size(number) for number in range(len(document))]


GREY = np.random.default_rng(1).integers(0, 256, (60, 40), dtype=np.uint8)
COLOUR = np.random.default_rng(2).integers(0, 256, (30, 50, 3), dtype=np.uint8)
SMOOTH = np.repeat(np.arange(0, 240, 4, dtype=np.uint8), 40).reshape(60, 40)


def test_every_page_is_cleaned_and_keeps_its_size(client: TestClient) -> None:
    sent = book((SMOOTH, (40, 60)), (COLOUR, (50, 30)), (SMOOTH, (40, 60)), (SMOOTH, (40.5, 60.25)), page3=90)
    response = client.post(url(), content=sent, headers=PDF)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/pdf"
    assert (response.headers["model-name"], response.headers["model-version"]) == ("grey-negative", "1")
    np.testing.assert_allclose(sizes(response.content), [(40, 60), (50, 30), (60, 40), (40.5, 60.25)], atol=1e-3)
    np.testing.assert_array_equal(drawn(response.content, 0)[:, :, 0], 255 - SMOOTH)
    error = drawn(response.content, 1).astype(int) - (255 - COLOUR)
    assert np.abs(error).mean() < 5, "of noise in colour a JPEG of high quality is made"
    np.testing.assert_array_equal(drawn(response.content, 2)[:, :, 0], 255 - np.rot90(SMOOTH, -1))
    with pikepdf.open(io.BytesIO(response.content)) as document:
        kinds = [page.Resources.XObject.Page for page in document.pages]
        assert [str(kind.ColorSpace) for kind in kinds] == ["/DeviceGray", "/DeviceRGB", "/DeviceGray", "/DeviceGray"]
        assert [str(kind.Filter) for kind in kinds] == ["/FlateDecode", "/DCTDecode", "/FlateDecode", "/FlateDecode"]


@pytest.mark.parametrize("points", [(595.2, 841.92), (595.2756, 841.8898), (408, 528), (123.12, 77.76)])
def test_a_scan_of_the_same_resolution_comes_pixel_by_pixel(points: tuple[float, float]) -> None:
    width, height = (round(side * 100 / 72) for side in points)
    scan = np.random.default_rng(3).integers(0, 256, (height, width), dtype=np.uint8)
    with reading(book((scan, points))) as reader:
        np.testing.assert_array_equal(reader.render_page(1, 100).pixels[:, :, 0], scan)


def test_what_is_written_is_lossless(client: TestClient) -> None:
    pixels = np.random.default_rng(4).integers(0, 30, (77, 131, 1), dtype=np.uint8) * np.uint8(8)
    writer = Writer()
    writer.add_page(Picture(pixels), (131, 77))
    with reading(writer.to_bytes()) as reader:
        np.testing.assert_array_equal(reader.render_page(1, 72).pixels, pixels)


@pytest.mark.parametrize("how", ["form", "bytes", "octets"])
def test_it_may_come_in_a_form_or_unnamed(client: TestClient, how: str) -> None:
    sent = book((SMOOTH, (40, 60)))
    if how == "form":
        response = client.post(url(), files={"image": ("book.pdf", sent, "application/pdf")})
    else:
        headers = {"Content-Type": "application/octet-stream"} if how == "octets" else {}
        response = client.post(url(query="?strength=0"), content=sent, headers={**headers, "Accept": "application/*"})
    wanted = 255 - SMOOTH if how == "form" else SMOOTH
    np.testing.assert_array_equal(drawn(response.content)[:, :, 0], wanted)


def test_the_resolution_is_the_settings_or_the_requests(client: TestClient) -> None:
    sent = book((SMOOTH, (40, 60)))
    widths = []
    for query in ("", "?dpi=144"):
        answer = client.post(url(query=query), content=sent, headers=PDF)
        with pikepdf.open(io.BytesIO(answer.content)) as document:
            widths.append(int(document.pages[0].Resources.XObject.Page.Width))
    assert widths == [40, 80]
    refused(client.post(url(query="?dpi=5000"), content=sent, headers=PDF), 422, "'5000'", "36 to 1200")
    refused(client.post(url(query="?dpi=100"), content=picture()), 422, "dpi is for PDFs")
    refused(client.post("/v1/models/small/encode?dpi=100", content=picture()), 422, "dpi is for denoise")


def test_what_is_over_a_limit_is_refused_before_anything_is_drawn(client: TestClient) -> None:
    page = (SMOOTH, (40.0, 60.0))
    refused(client.post(url(), content=book(*[page] * 5), headers=PDF), 413, "has 5 pages; the limit is 4")
    poster = book(page, (SMOOTH, (2000, 2000)))
    refused(client.post(url(), content=poster, headers=PDF), 413, "page 2 is 2000x2000 at 72 dpi (4 Mpixel)", "?dpi=")
    assert client.post(url(query="?dpi=36"), content=poster, headers=PDF).status_code == 200


def test_the_answer_has_a_limit_too(models: Path) -> None:
    noise = np.random.default_rng(5).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    settings = Settings(models=models, pdf_dpi=72, max_body_bytes=300_000)
    sent = book((noise, (300, 300)))
    assert len(sent) < 300_000
    with TestClient(create_app(settings, trusted=True)) as client:
        answer = client.post(url(query="?dpi=144"), content=sent, headers=PDF)
        refused(answer, 413, "the first 1 of 1 pages have")
        assert client.app.state.admission.bytes == 0  # type: ignore[attr-defined]


def test_locked_and_damaged_ones_are_refused_in_words(client: TestClient) -> None:
    sent = book((SMOOTH, (40, 60)))
    locked, open_to_all = io.BytesIO(), io.BytesIO()
    pikepdf.open(io.BytesIO(sent)).save(locked, encryption=pikepdf.Encryption(owner="a", user="b"))
    pikepdf.open(io.BytesIO(sent)).save(open_to_all, encryption=pikepdf.Encryption(owner="a", user=""))
    refused(
        client.post(url(), content=locked.getvalue(), headers=PDF), 422, "the PDF is locked: send it without a pass"
    )
    assert client.post(url(), content=open_to_all.getvalue(), headers=PDF).status_code == 200
    refused(
        client.post(url(), content=b"%PDF-1.7 and no more", headers=PDF), 422, "the PDF cannot be read: it is damag"
    )
    refused(client.post(url(), content=b"", headers=PDF), 422, "the PDF cannot be read")
    two = [("image", ("a.pdf", sent, "application/pdf"))] * 2
    refused(client.post(url(), files=two), 422, "image 1 of 2 is a PDF; send one")


def test_it_is_for_denoisers_of_any_size_and_comes_back_as_a_pdf(client: TestClient) -> None:
    sent = book((SMOOTH, (40, 60)))
    for path in ("/v1/models/small/denoise", "/v1/models/small/encode", "/v1/models/signal/denoise"):
        refused(client.post(path, content=sent, headers=PDF), 415, "a PDF is for models that denoise pictures of any")
    refused(
        client.post(url(), content=sent, headers={**PDF, "Accept": "image/png"}), 406, "answered as application/pdf"
    )
    document = client.get("/openapi.json").json()["paths"]
    for name in ("denoise", "encode"):
        operation = document[f"/v1/models/{{name}}/{name}"]["post"]
        told = ("application/pdf" in operation["requestBody"]["content"], "dpi" in str(operation["parameters"]))
        assert told == (name == "denoise",) * 2


def test_without_the_extra_the_remedy_is_named(
    client: TestClient, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pdf, "IS_INSTALLED", False)
    sent = book((SMOOTH, (40, 60)))
    refused(client.post(url(), content=sent, headers=PDF), 415, "pip install 'autoencoder-service[pdf]'")
    with TestClient(create_app(Settings(models=models), trusted=True)) as other:
        assert "application/pdf" not in other.get("/openapi.json").text
    (tmp_path / "a.pdf").write_bytes(sent)
    where = ["-o", str(tmp_path / "b.pdf"), "--models", str(models), "--model", "grey-negative"]
    assert main(["denoise", str(tmp_path / "a.pdf"), *where]) == 2
    assert "pip install 'autoencoder-service[pdf]'" in capfd.readouterr().err


# --- the process that draws --------------------------------------------------------------------------------------


@contextlib.contextmanager
def reading(data: bytes, limits: Limits = LIMITS) -> Iterator[Reader]:
    reader = Reader(limits)
    try:
        reader.open(data, 72)
        yield reader
    finally:
        reader.close()


@pytest.mark.parametrize(
    ("number", "limits", "sentence"),
    [
        (signal.SIGSEGV, LIMITS, "page 1 of the PDF cannot be read: it ended its reader, which may have 1024 MiB"),
        (signal.SIGSTOP, Limits(10, 10**6, 10_000, 1, 1 << 30), "page 1 of the PDF takes longer than 1 s to be read"),
    ],
)
def test_a_reader_that_crashes_or_hangs_is_a_refusal(number: int, limits: Limits, sentence: str) -> None:
    with reading(book((SMOOTH, (40, 60))), limits) as reader:
        os.kill(reader._process.pid, number)
        started = time.monotonic()
        with pytest.raises(InvalidInput, match=sentence):
            reader.render_page(1, 72)
        assert time.monotonic() - started < 5
    assert reader._process.poll() is not None, "and it is gone"


def test_a_page_that_wants_too_much_memory_ends_its_own_reader_only() -> None:
    sent = book((SMOOTH, (72, 72)))
    small = Limits(10, 10**9, 50_000, 20, 1 << 26)
    with (
        reading(sent, small) as reader,
        pytest.raises(InvalidInput, match=r"page 1 of the PDF .*, which may have 64 M"),
    ):
        reader.render_page(1, 20_000)  # 20000x20000 pixels of three bytes


def test_the_reader_knows_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOENCODER_KEYS", "/etc/keys")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=hidden")
    with reading(book((SMOOTH, (40, 60)))) as reader:
        environment = Path(f"/proc/{reader._process.pid}/environ").read_bytes()
    assert b"PYTHONPATH=" in environment
    assert b"AUTOENCODER_" not in environment
    assert b"hidden" not in environment


def test_who_leaves_takes_the_reader_along_and_a_hanging_one_keeps_nobody_waiting(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[Reader] = []
    begun = threading.Event()
    render_page = Reader.render_page

    def slow(self: Reader, number: int, dpi: int) -> Picture:
        readers.append(self)
        os.kill(self._process.pid, signal.SIGSTOP)
        begun.set()
        return render_page(self, number, dpi)

    monkeypatch.setattr(Reader, "render_page", slow)

    async def leave(client: AsyncClient, state: Any) -> None:
        asking = asyncio.create_task(client.denoise("grey-negative", book((SMOOTH, (40, 60)))))
        assert await asyncio.to_thread(begun.wait, 10)
        (others,) = await client.denoise("grey-negative", SMOOTH[None])
        np.testing.assert_array_equal(others[:, :, 0], 255 - SMOOTH)
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking
        assert readers[0]._process.poll() is not None
        assert (state.admission.requests, state.admission.bytes, state.admission.pixels) == (0, 0, 0)

    _inside(models, leave)


def _inside(models: Path, work: Callable[[AsyncClient, Any], Any]) -> None:
    async def run() -> None:
        app = create_app(Settings(models=models, watch=0, workers=1), trusted=True)
        async with (
            app.fallback.router.lifespan_context(app.fallback),
            AsyncClient("http://here", transport=httpx2.ASGITransport(app), retries=0) as client,
        ):
            await work(client, app.state)

    asyncio.run(run())


def laughs(document: pikepdf.Pdf) -> dict[str, Any]:
    """Twelve forms, each of which draws the one before ten times."""
    form: dict[str, Any] = {"Type": pikepdf.Name.XObject, "Subtype": pikepdf.Name.Form, "BBox": [0, 0, 600, 900]}
    inner = pikepdf.Stream(document, b"0 0 500 500 re f", **form)
    for _ in range(12):
        resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(X=inner))
        inner = pikepdf.Stream(document, b"/X Do " * 10, Resources=resources, **form)
    resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(X=inner))
    return {"Resources": resources, "Contents": pikepdf.Stream(document, b"/X Do")}


def nothing(document: pikepdf.Pdf) -> dict[str, Any]:
    """300 MB of spaces in 300 KB."""
    packed = zlib.compressobj(9)
    contents = pikepdf.Stream(document, b"")
    data = b"".join([packed.compress(b" " * (1 << 20)) for _ in range(300)]) + packed.flush()
    contents.write(data, filter=pikepdf.Name.FlateDecode)
    return {"Contents": contents}


@pytest.mark.parametrize("bomb", [laughs, nothing])
def test_small_documents_that_become_large_end_their_own_reader(bomb: Callable[[pikepdf.Pdf], dict[str, Any]]) -> None:
    document = pikepdf.new()
    page = document.add_blank_page(page_size=(100, 100))
    for name, value in bomb(document).items():
        page[f"/{name}"] = value
    buffer = io.BytesIO()
    document.save(buffer)
    assert buffer.tell() < 400_000
    limits = Limits(10, 10**6, 10_000, 2, 1 << 26)
    with (
        reading(buffer.getvalue(), limits) as reader,
        pytest.raises(InvalidInput, match=r"page 1 of the PDF (cann|take)"),
    ):
        reader.render_page(1, 72)


def test_spoilt_documents_are_drawn_or_refused_in_words() -> None:
    told = pdfs.run(30)
    assert told.total() == 30
    assert 0 < told["drawn"] < 30
    assert told["the PDF cannot be read"] > 0


# --- files -------------------------------------------------------------------------------------------------------


def test_books_and_pictures_of_a_folder_are_cleaned(
    models: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    (scans / "book.pdf").write_bytes(book((SMOOTH, (40, 60)), (SMOOTH, (60, 40))))
    (scans / "bad.pdf").write_bytes(b"%PDF-1.4 no book")
    Pillow.fromarray(SMOOTH).save(scans / "page.png")
    where = ["--models", str(models), "--model", "grey-negative", "--dpi", "72"]
    assert main(["denoise", str(scans), "-o", str(tmp_path / "clean"), *where[:-2]]) == 1
    assert "bad.pdf: the PDF cannot be read: it is damaged" in capfd.readouterr().err
    assert sorted(path.name for path in (tmp_path / "clean").iterdir()) == ["book.pdf", "page.png"]
    assert main(["denoise", str(scans / "book.pdf"), "-o", str(tmp_path / "a.pdf"), *where]) == 0
    np.testing.assert_array_equal(drawn((tmp_path / "a.pdf").read_bytes())[:, :, 0], 255 - SMOOTH)
    for source, target in (("book.pdf", "b.png"), ("page.png", "b.pdf")):
        assert main(["denoise", str(scans / source), "-o", str(tmp_path / target), *where]) == 2
        assert "a PDF becomes a PDF, and images images" in capfd.readouterr().err
    assert main(["encode", str(scans), "-o", str(tmp_path / "a.npy"), *where[:3], "small", "--fit", "contain"]) == 0
    assert (tmp_path / "a.txt").read_text() == "page.png\n"
