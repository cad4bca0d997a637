"""PDFs in, cleaned PDFs out, over HTTP; which are refused. The test models turn every pixel into 255 - it."""

import asyncio
import contextlib
import io
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pikepdf
import pytest
from PIL import Image as Pillow
from starlette.testclient import TestClient

from service.api.services import Services
from service.app import create_app
from service.cli.main import main
from service.client import AsyncClient
from service.codecs import pdf
from service.codecs.pdf import Reader
from service.imaging.picture import Picture
from service.settings import Settings
from tests.service import packages as doubles
from tests.service.http import picture, refused
from tests.service.pdf_files import COLOUR, SMOOTH, page_sizes, render_page, write_form, write_pdf

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


def test_every_page_is_cleaned_and_keeps_its_size(client: TestClient) -> None:
    data = write_pdf((SMOOTH, (40, 60)), (COLOUR, (50, 30)), (SMOOTH, (40, 60)), (SMOOTH, (40.5, 60.25)), page3=90)
    response = client.post(url(), content=data, headers=PDF)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/pdf"
    assert (response.headers["model-name"], response.headers["model-version"]) == ("grey-negative", "1")
    np.testing.assert_allclose(page_sizes(response.content), [(40, 60), (50, 30), (60, 40), (40.5, 60.25)], atol=1e-3)
    np.testing.assert_array_equal(render_page(response.content, 0)[:, :, 0], 255 - SMOOTH)
    error = render_page(response.content, 1).astype(int) - (255 - COLOUR)
    assert np.abs(error).mean() < 5, "of noise in colour a JPEG of high quality is made"
    np.testing.assert_array_equal(render_page(response.content, 2)[:, :, 0], 255 - np.rot90(SMOOTH, -1))
    with pikepdf.open(io.BytesIO(response.content)) as document:
        kinds = [page.Resources.XObject.Page for page in document.pages]
        assert [str(kind.ColorSpace) for kind in kinds] == ["/DeviceGray", "/DeviceRGB", "/DeviceGray", "/DeviceGray"]
        assert [str(kind.Filter) for kind in kinds] == ["/FlateDecode", "/DCTDecode", "/FlateDecode", "/FlateDecode"]


def test_a_page_in_units_of_its_own_keeps_its_size_turned_and_cropped_too(client: TestClient) -> None:
    turned: dict[str, Any] = {"Rotate": 90, "CropBox": [20, 10, 180, 90]}
    plain: dict[str, Any] = {}
    for values, size in ((plain, (200, 100)), (turned, (80, 160))):
        data = write_form("text", UserUnit=1.5, **values)
        response = client.post(url(query="?strength=0"), content=data, headers=PDF)
        assert response.status_code == 200, response.text
        with pikepdf.open(io.BytesIO(response.content)) as document:
            (page,) = document.pages
            assert [float(number) for number in page.MediaBox] == [0, 0, *size]
            assert float(page.UserUnit) == 1.5
            picture = page.Resources.XObject.Page
            assert (int(picture.Width), int(picture.Height)) == (size[0] * 1.5, size[1] * 1.5)
    refused(client.post(url(), content=write_form("text", UserUnit=100), headers=PDF), 413, "page 1 is 20000x10000")


@pytest.mark.parametrize("sender", ["form", "bytes", "octets"])
def test_a_pdf_may_be_sent_in_a_form_or_without_a_media_type(client: TestClient, sender: str) -> None:
    data = write_pdf((SMOOTH, (40, 60)))
    if sender == "form":
        response = client.post(url(), files={"image": ("book.pdf", data, "application/pdf")})
    else:
        headers = {"Content-Type": "application/octet-stream"} if sender == "octets" else {}
        response = client.post(url(query="?strength=0"), content=data, headers={**headers, "Accept": "application/*"})
    expected = 255 - SMOOTH if sender == "form" else SMOOTH
    np.testing.assert_array_equal(render_page(response.content)[:, :, 0], expected)


def test_the_resolution_is_the_settings_or_the_requests(client: TestClient) -> None:
    data = write_pdf((SMOOTH, (40, 60)))
    widths = []
    for query in ("", "?dpi=144"):
        answer = client.post(url(query=query), content=data, headers=PDF)
        with pikepdf.open(io.BytesIO(answer.content)) as document:
            widths.append(int(document.pages[0].Resources.XObject.Page.Width))
    assert widths == [40, 80]
    refused(client.post(url(query="?dpi=5000"), content=data, headers=PDF), 422, "'5000'", "36 to 1200")
    refused(client.post(url(query="?dpi=100"), content=picture()), 422, "dpi is for PDFs")
    refused(client.post("/v1/models/small/encode?dpi=100", content=picture()), 422, "dpi is for denoise")


def test_a_document_over_a_limit_is_refused_before_a_page_is_rendered(client: TestClient) -> None:
    page = (SMOOTH, (40.0, 60.0))
    refused(client.post(url(), content=write_pdf(*[page] * 5), headers=PDF), 413, "has 5 pages; the limit is 4")
    poster = write_pdf(page, (SMOOTH, (2000, 2000)))
    refused(client.post(url(), content=poster, headers=PDF), 413, "page 2 is 2000x2000 at 72 dpi (4 Mpixel)", "?dpi=")
    assert client.post(url(query="?dpi=36"), content=poster, headers=PDF).status_code == 200


def test_the_answer_has_a_limit_too(models: Path) -> None:
    noise = np.random.default_rng(5).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    settings = Settings(models=models, pdf_dpi=72, max_body_bytes=300_000)
    data = write_pdf((noise, (300, 300)))
    assert len(data) < 300_000
    with TestClient(create_app(settings, trusted=True)) as client:
        answer = client.post(url(query="?dpi=144"), content=data, headers=PDF)
        refused(answer, 413, "the first 1 of 1 pages have")
        assert client.app.services.admission.bytes == 0  # type: ignore[attr-defined]


def test_locked_and_damaged_documents_are_refused_with_a_sentence(client: TestClient) -> None:
    data = write_pdf((SMOOTH, (40, 60)))
    locked, open_to_all = io.BytesIO(), io.BytesIO()
    pikepdf.open(io.BytesIO(data)).save(locked, encryption=pikepdf.Encryption(owner="a", user="b"))
    pikepdf.open(io.BytesIO(data)).save(open_to_all, encryption=pikepdf.Encryption(owner="a", user=""))
    refused(
        client.post(url(), content=locked.getvalue(), headers=PDF), 422, "the PDF is locked: send it without a pass"
    )
    assert client.post(url(), content=open_to_all.getvalue(), headers=PDF).status_code == 200
    refused(
        client.post(url(), content=b"%PDF-1.7 and no more", headers=PDF), 422, "the PDF cannot be read: it is damag"
    )
    refused(client.post(url(), content=b"", headers=PDF), 422, "the PDF cannot be read")
    two = [("image", ("a.pdf", data, "application/pdf"))] * 2
    refused(client.post(url(), files=two), 422, "image 1 of 2 is a PDF; send one")


def test_a_pdf_is_for_denoisers_of_any_size_and_the_answer_is_a_pdf(client: TestClient) -> None:
    data = write_pdf((SMOOTH, (40, 60)))
    for path in ("/v1/models/small/denoise", "/v1/models/small/encode", "/v1/models/signal/denoise"):
        refused(client.post(path, content=data, headers=PDF), 415, "a PDF is for models that denoise images of any")
    refused(
        client.post(url(), content=data, headers={**PDF, "Accept": "image/png"}), 406, "answered as application/pdf"
    )
    raw = client.post(url(), content=data, headers={**PDF, "Accept": "application/octet-stream"})
    assert (raw.status_code, raw.headers["content-type"]) == (200, "application/octet-stream")
    assert raw.content.startswith(b"%PDF")
    document = client.get("/openapi.json").json()["paths"]
    for name in ("denoise", "encode"):
        operation = document[f"/v1/models/{{name}}/{name}"]["post"]
        documented = (
            "application/pdf" in operation["requestBody"]["description"],
            "dpi" in str(operation["parameters"]),
        )
        assert documented == (name == "denoise",) * 2


def test_without_the_extra_the_remedy_is_named(
    client: TestClient, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pdf, "IS_INSTALLED", False)
    data = write_pdf((SMOOTH, (40, 60)))
    refused(client.post(url(), content=data, headers=PDF), 415, "pip install 'autoencoder-service[pdf]'")
    with TestClient(create_app(Settings(models=models), trusted=True)) as client_without_extra:
        assert "application/pdf" not in client_without_extra.get("/openapi.json").text
    (tmp_path / "a.pdf").write_bytes(data)
    options = ["-o", str(tmp_path / "b.pdf"), "--models", str(models), "--model", "grey-negative"]
    assert main(["denoise", str(tmp_path / "a.pdf"), *options]) == 2
    assert "pip install 'autoencoder-service[pdf]'" in capfd.readouterr().err


def test_a_client_that_disconnects_ends_the_reader_and_a_hanging_reader_delays_no_other_request(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[Reader] = []
    has_started = threading.Event()
    render_page = Reader.render_page

    def slow(self: Reader, number: int, dpi: int) -> Picture:
        readers.append(self)
        os.kill(self._process.pid, signal.SIGSTOP)
        has_started.set()
        return render_page(self, number, dpi)

    monkeypatch.setattr(Reader, "render_page", slow)

    async def disconnect(client: AsyncClient, services: Services) -> None:
        request = asyncio.create_task(client.denoise("grey-negative", write_pdf((SMOOTH, (40, 60)))))
        assert await asyncio.to_thread(has_started.wait, 10)
        (image,) = await client.denoise("grey-negative", SMOOTH[None])
        np.testing.assert_array_equal(image[:, :, 0], 255 - SMOOTH)
        request.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await request
        assert readers[0]._process.poll() is not None
        assert (services.admission.requests, services.admission.bytes, services.admission.pixels) == (0, 0, 0)

    _run_in_process(models, disconnect)


def _run_in_process(models: Path, work: Callable[[AsyncClient, Any], Any]) -> None:
    async def run() -> None:
        app = create_app(Settings(models=models, watch=0, workers=1), trusted=True)
        async with (
            app.fallback.router.lifespan_context(app.fallback),
            AsyncClient("http://here", transport=httpx2.ASGITransport(app), retries=0) as client,
        ):
            await work(client, app.services)

    asyncio.run(run())


def test_books_and_pictures_of_a_folder_are_cleaned(
    models: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    (scans / "book.pdf").write_bytes(write_pdf((SMOOTH, (40, 60)), (SMOOTH, (60, 40))))
    (scans / "bad.pdf").write_bytes(b"%PDF-1.4 no book")
    Pillow.fromarray(SMOOTH).save(scans / "page.png")
    options = ["--models", str(models), "--model", "grey-negative", "--dpi", "72"]
    assert main(["denoise", str(scans), "-o", str(tmp_path / "clean"), *options[:-2]]) == 1
    assert "bad.pdf: the PDF cannot be read: it is damaged" in capfd.readouterr().err
    assert sorted(path.name for path in (tmp_path / "clean").iterdir()) == ["book.pdf", "page.png"]
    assert main(["denoise", str(scans / "book.pdf"), "-o", str(tmp_path / "a.pdf"), *options]) == 0
    np.testing.assert_array_equal(render_page((tmp_path / "a.pdf").read_bytes())[:, :, 0], 255 - SMOOTH)
    for source, target in (("book.pdf", "b.png"), ("page.png", "b.pdf")):
        assert main(["denoise", str(scans / source), "-o", str(tmp_path / target), *options]) == 2
        assert "a PDF becomes a PDF, and images images" in capfd.readouterr().err
    assert main(["encode", str(scans), "-o", str(tmp_path / "a.npy"), *options[:3], "small", "--fit", "contain"]) == 0
    assert (tmp_path / "a.txt").read_text() == "page.png\n"
