"""Large pictures, many files, pages and strengths on the page, in a real Chromium, with failures in between."""

import io
import time
import zipfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, Request

from service.api.auth import generate_key
from tests.page.conftest import CHROMIUM, Server, Visit
from tests.page.test_page import download, picture, set_strength, wait_for_result, wait_until
from tests.service.pdf_files import SMOOTH, page_sizes, write_pdf

FOLDER = """async (files) => {
  const bytesOf = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  const makeFile = ([path, base64]) => ({
    isFile: true, name: path.split("/").pop(), fullPath: "/" + path,
    file: (resolve) => resolve(new File([bytesOf(base64)], path.split("/").pop())),
  });
  const makeFolder = (name, children) => ({
    isDirectory: true, name,
    createReader: () => { const parts = [children, []]; return {readEntries: (resolve) => resolve(parts.shift())}; },
  });
  const entry = makeFolder("scans", [makeFolder("day 1", files.map(makeFile))]);
  const {readTransfer} = await import("/page/dropped-files.js");
  const found = await readTransfer({items: [{kind: "file", webkitGetAsEntry: () => entry}], files: []});
  return found.map(({path, file}) => [path, file.size]);
}"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A service that is soon full, and refuses large pictures."""
    if CHROMIUM is None:
        pytest.skip("no chromium is installed: apt-get install chromium")
    server = Server(MAX_REQUESTS="1", MAX_PIXELS="1000000", MAX_INSIDE_PIXELS="4000000")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def limited(window: Page, server: Server) -> Iterator[Visit]:
    """As `visit`, at that service; its refusals are in the console."""
    visit = Visit(window, server.address)
    yield visit
    visit.close()
    assert visit.external_requests == []


def photograph(height: int, width: int, seed: int = 0) -> bytes:
    """A noisy JPEG in colours."""
    random = np.random.default_rng(seed)
    ramps = np.add.outer(np.arange(height) / 9, np.arange(width) / 7)[..., None] + np.array([0, 60, 120])
    buffer = io.BytesIO()
    pixels = 128 + 90 * np.sin(ramps / 11) + random.normal(0, 15, (height, width, 3))
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def tiff(*sizes: tuple[int, int]) -> bytes:
    pages = [Image.open(io.BytesIO(picture(height=height, width=width))) for height, width in sizes]
    buffer = io.BytesIO()
    pages[0].save(buffer, "TIFF", save_all=True, append_images=pages[1:])
    return buffer.getvalue()


def payload(name: str, data: bytes, media_type: str = "") -> Any:
    return {"name": name, "mimeType": media_type, "buffer": data}


def choose(page: Page, *files: Any) -> None:
    page.set_input_files("#file-input", list(files))


def states(page: Page) -> list[str]:
    found: list[str] = page.eval_on_selector_all(".file", "rows => rows.map((row) => row.className.split('-').pop())")
    return found


def place(page: Page) -> dict[str, float]:
    """Scale and offset of each layer of the comparison, which must agree, and the frame's width."""
    layers = page.evaluate(
        """['base', 'after', 'before'].map((id) => {
          const matrix = new DOMMatrix(getComputedStyle(document.getElementById(id)).transform);
          return [matrix.a, matrix.e, matrix.f];
        })"""
    )
    assert layers[0] == layers[1] == layers[2]
    scale, x, y = layers[0]
    return {"scale": scale, "x": x, "y": y}


# --- a large picture -------------------------------------------------------------------------------------------


def test_a_large_photograph_shows_percent_and_time_and_asks_for_enough(visit: Visit) -> None:
    page = visit("photos")
    deadlines: list[str | None] = []

    def record(request: Request) -> None:
        if "/denoise" in request.url:
            deadlines.append(request.headers.get("request-deadline"))

    page.on("request", record)
    data = photograph(1400, 2000)
    choose(page, payload("large.jpg", data, "image/jpeg"))
    texts: list[str] = []
    end = time.monotonic() + 300
    while page.is_disabled("#download"):
        assert time.monotonic() < end
        text = page.inner_text("#progress-text") if page.is_visible("#progress") else ""
        texts += [text] if text and text not in texts else []
        page.wait_for_timeout(40)
    percents = [int(text.partition("%")[0]) for text in texts if "%" in text]
    assert len(percents) >= 3
    assert percents == sorted(percents)
    assert any("left" in text for text in texts), texts
    limits = httpx2.get(f"{visit.address}v1/limits").json()
    assert deadlines == [f"{limits['max_deadline']:g}"]
    plain = httpx2.post(
        f"{visit.address}v1/models/photos/denoise", content=data, headers={"Content-Type": "image/jpeg"}, timeout=300
    )
    assert download(page) == plain.content


def test_both_layers_show_the_same_part_however_it_is_moved(visit: Visit) -> None:
    page = visit("pages")
    choose(page, payload("a.png", picture(height=900, width=1200), "image/png"))
    wait_for_result(page)
    box = page.locator("#frame").bounding_box()
    assert box is not None
    fitted = place(page)["scale"]
    assert fitted == pytest.approx(min(box["width"] / 1200, box["height"] / 900), abs=0.01)
    assert page.get_attribute("#zoom-fit", "aria-pressed") == "true"
    page.click("#zoom-full")
    assert place(page)["scale"] == 1
    assert page.inner_text("#zoom-value") == "100%"
    page.locator("#frame").scroll_into_view_if_needed()
    page.wait_for_timeout(400)  # the wheel scrolls the page for a moment after it was scrolled
    box = page.locator("#frame").bounding_box()
    assert box is not None
    middle = (box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    before = place(page)
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] + 30, middle[1] - 20, steps=3)
    page.mouse.up()
    moved = place(page)
    assert (moved["x"] - before["x"], moved["y"] - before["y"]) == (30, -20)
    assert page.evaluate("document.getElementById('compare').value") == "50"  # the divider did not move
    page.mouse.wheel(0, -300)
    wait_until(page, "Number.parseInt(document.getElementById('zoom-value').textContent) > 150")
    zoomed = place(page)
    point = [(middle[0] + 30 - box["x"] - moved["x"]), (middle[0] + 30 - box["x"] - zoomed["x"]) / zoomed["scale"]]
    assert point[0] == pytest.approx(point[1], abs=0.6)  # what was under the pointer still is
    handle = page.locator(".handle").bounding_box()
    assert handle is not None
    assert box["x"] < handle["x"] < box["x"] + box["width"]
    page.mouse.move(handle["x"] + 1, middle[1])
    page.mouse.down()
    page.mouse.move(box["x"] + 40, middle[1], steps=3)
    page.mouse.up()
    assert float(page.evaluate("document.getElementById('compare').value")) == pytest.approx(4000 / box["width"], abs=1)
    assert place(page) == zoomed
    page.focus("#frame")
    page.keyboard.press("0")
    assert place(page)["scale"] == fitted
    page.keyboard.press("1")
    assert place(page)["scale"] == 1
    x = place(page)["x"]
    page.keyboard.press("ArrowRight")
    assert place(page)["x"] < x
    page.keyboard.press("+")
    assert place(page)["scale"] == 1.25


def test_two_fingers_zoom(visit: Visit) -> None:
    page = visit("pages")
    choose(page, payload("a.png", picture(height=900, width=1200), "image/png"))
    wait_for_result(page)
    page.evaluate(
        """() => {
          const frame = document.getElementById("frame");
          const box = frame.getBoundingClientRect();
          frame.setPointerCapture = () => {};
          const send = (kind, id, x) => frame.dispatchEvent(new PointerEvent(kind, {
            pointerId: id, pointerType: "touch", clientX: box.left + x, clientY: box.top + 100, bubbles: true,
          }));
          send("pointerdown", 11, 300); send("pointerdown", 12, 400);
          send("pointermove", 12, 500); send("pointerup", 11, 300); send("pointerup", 12, 500);
        }"""
    )
    box = page.locator("#frame").bounding_box()
    assert box is not None
    assert place(page)["scale"] == pytest.approx(2 * min(box["width"] / 1200, box["height"] / 900), rel=0.01)


# --- failures --------------------------------------------------------------------------------------------------


def test_nothing_is_lost_when_the_service_ends_or_a_picture_is_refused(limited: Visit, server: Server) -> None:
    page = limited("pages")
    choose(page, payload("first.png", picture(), "image/png"))
    wait_for_result(page)
    first = download(page)
    choose(page, payload("huge.png", picture(height=1100, width=1000), "image/png"))
    page.wait_for_selector("#error:not([hidden])")
    assert "limit is 1 Mpixel" in page.inner_text("#error-detail")
    assert page.is_visible("#frame")  # the picture stays
    assert states(page) == ["done", "failed"]
    page.click(".file-select >> nth=0")
    assert page.is_hidden("#error")
    assert download(page) == first
    server.stop()
    page.click("#keep-figures")  # asks for another result
    page.wait_for_selector("#error:not([hidden])")
    assert page.is_visible("#retry")
    assert page.is_checked("#keep-figures")  # what is shown, and downloaded, is the result of before
    assert download(page) == first
    assert page.evaluate("document.getElementById('after').naturalWidth") == 64
    set_strength(page, 0.5)
    page.click("#download")
    page.wait_for_selector("#error:not([hidden])")
    server.start()
    with page.expect_download() as event:
        page.click("#retry")
    assert read(Path(event.value.path()).read_bytes()).shape == (48, 64)


def test_a_service_that_ends_in_between_is_waited_for_by_hand_and_a_busy_one_by_itself(
    limited: Visit, server: Server
) -> None:
    page = limited("pages")
    choose(page, *(payload(f"{n}.png", picture(height=300 + n), "image/png") for n in range(4)))
    wait_until(page, "document.querySelectorAll('.file.is-done').length === 4")  # one request at a time: others got 429
    assert any("429" in line for line in limited.complaints)
    server.stop()
    choose(page, *(payload(f"later {n}.png", picture(width=90 + n), "image/png") for n in range(3)))
    page.wait_for_selector("#error:not([hidden])")
    wait_until(page, "document.querySelectorAll('.file.is-running, .file.is-waiting').length === 0")
    assert states(page)[:4] == ["done"] * 4
    assert set(states(page)[4:]) <= {"failed", "idle"}
    server.start()
    page.click("#retry")
    wait_until(page, "document.querySelectorAll('.file.is-done').length === 7")
    assert page.is_hidden("#error")


def test_a_service_with_keys_gets_the_key_with_everything(window: Page, tmp_path: Path, address: str) -> None:
    assert address  # skips without a Chromium
    key, line = generate_key("page")
    (tmp_path / "keys").write_text(line + "\n")
    server = Server(KEYS=str(tmp_path / "keys"))
    server.start()
    try:
        window.goto(f"{server.address}#pages")
        window.wait_for_selector("#key-form:not([hidden])")
        window.fill("#key", key)
        window.press("#key", "Enter")
        window.wait_for_selector("#stage:not([hidden])")
        choose(window, payload("a.png", picture(), "image/png"))
        wait_for_result(window)
        set_strength(window, 0.5)
        assert read(download(window)).shape == (48, 64)
    finally:
        window.evaluate("sessionStorage.clear()")
        server.stop()


# --- many files ------------------------------------------------------------------------------------------------


def test_several_files_are_a_list_and_a_zip_and_a_broken_one_stops_no_other(visit: Visit) -> None:
    page = visit("pages", language="ko")
    good = {"a.png": picture(), "b.jpg": picture("JPEG"), "c.png": picture(height=70)}
    choose(
        page,
        payload("a.png", good["a.png"], "image/png"),
        payload("broken.png", picture()[:90], "image/png"),
        payload("b.jpg", good["b.jpg"], "image/jpeg"),
        payload("notes.txt", b"no picture", "text/plain"),
        payload("c.png", good["c.png"], "image/png"),
        payload("a.png", good["c.png"], "image/png"),
    )
    wait_until(page, "document.querySelectorAll('.file.is-done').length === 4")
    assert states(page) == ["done", "failed", "done", "failed", "done", "done"]
    assert "이미지 파일이 아닙니다" in page.inner_text(".file >> nth=3")
    assert page.inner_text("#files-count") == "6개 중 4개 완료, 2개 실패"
    assert page.locator(".file-thumbnail canvas").count() >= 4
    one = download(page, ".file >> nth=2 >> .file-buttons button:visible >> nth=0")
    assert Image.open(io.BytesIO(one)).format == "JPEG"
    archive = zipfile.ZipFile(io.BytesIO(download(page, "#files-zip")))
    assert archive.testzip() is None
    assert archive.namelist() == ["a-pages.png", "b-pages.jpg", "c-pages.png", "a-pages (2).png"]
    for name, data in (("a-pages.png", good["a.png"]), ("a-pages (2).png", good["c.png"])):
        plain = httpx2.post(
            f"{visit.address}v1/models/pages/denoise", content=data, headers={"Content-Type": "image/png"}
        )
        assert archive.read(name) == plain.content
    set_strength(page, 0.5)
    archive = zipfile.ZipFile(io.BytesIO(download(page, "#files-zip")))
    half = httpx2.post(
        f"{visit.address}v1/models/pages/denoise?strength=0.5",
        content=good["a.png"],
        headers={"Content-Type": "image/png"},
    )
    assert (read(archive.read("a-pages.png")) == read(half.content)).all()
    page.click(".file >> nth=1 >> .file-buttons button:visible >> nth=-1")  # remove
    page.click("#files-clear")
    assert page.is_hidden("#files")
    assert page.is_visible("#drop")


def read(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_folders_are_read_to_the_bottom(visit: Visit) -> None:
    page = visit("pages")
    files = [["scans/day 1/b.png", "AAAA"], ["scans/day 1/.DS_Store", "AAAA"], ["scans/day 1/a.png", "AAAAAAAA"]]
    assert page.evaluate(FOLDER, files) == [["scans/day 1/a.png", 6], ["scans/day 1/b.png", 3]]


def test_a_chosen_folder_is_sent_with_its_names(visit: Visit, tmp_path: Path) -> None:
    folder = tmp_path / "scans" / "day 1"
    folder.mkdir(parents=True)
    for name in ("a.png", "b.png", ".hidden"):
        (folder / name).write_bytes(picture())
    page = visit("pages")
    page.set_input_files("#folder-input", tmp_path / "scans")
    wait_until(page, "document.querySelectorAll('.file.is-done').length === 2")
    archive = zipfile.ZipFile(io.BytesIO(download(page, "#files-zip")))
    assert sorted(archive.namelist()) == ["scans/day 1/a-pages.png", "scans/day 1/b-pages.png"]


def test_pages_of_a_tiff_and_of_a_pdf_are_shown_before_and_after(visit: Visit) -> None:
    page = visit("pages")
    data = tiff((48, 64), (50, 80), (40, 90))
    choose(page, payload("scan.tif", data, "image/tiff"))
    wait_for_result(page)
    assert page.inner_text("#page-number") == "Page 1 of 3"
    for number, width in ((1, 64), (2, 80), (3, 90)):
        wait_until(page, "width => document.getElementById('after').naturalWidth === width", width)
        assert page.evaluate("document.getElementById('before').naturalWidth") == width
        assert page.inner_text("#page-number") == f"Page {number} of 3"
        if number < 3:
            page.click("#page-next")
    assert page.is_disabled("#page-next")
    plain = httpx2.post(f"{visit.address}v1/models/pages/denoise", content=data, headers={"Content-Type": "image/tiff"})
    assert download(page) == plain.content
    set_strength(page, 1.5)
    wait_until(page, "document.getElementById('after').style.opacity === '0.5'")
    stronger = Image.open(io.BytesIO(download(page)))
    assert (stronger.format, getattr(stronger, "n_frames", 1)) == ("TIFF", 3)
    set_strength(page, 1)
    choose(page, payload("scan.pdf", write_pdf((SMOOTH, (40, 60)), (SMOOTH, (50, 30))), "application/pdf"))
    wait_for_result(page)
    assert page.inner_text("#page-number") == "Page 1 of 2"
    assert page_sizes(download(page)) == [(40, 60), (50, 30)]
    set_strength(page, 0.5)
    assert page_sizes(download(page)) == [(40, 60), (50, 30)]


@pytest.mark.parametrize(("language", "words"), [("en", "animated"), ("ko", "움직이는 GIF 이미지입니다")])
def test_formats_are_taken_or_named(visit: Visit, language: str, words: str) -> None:
    page = visit("pages", language=language)
    scan = Image.open(io.BytesIO(picture()))
    single, animated, avif = io.BytesIO(), io.BytesIO(), io.BytesIO()
    scan.save(single, "GIF")
    scan.save(animated, "GIF", save_all=True, append_images=[Image.new("L", scan.size)])
    scan.convert("RGB").save(avif, "AVIF")
    pytest.importorskip("pillow_heif").register_heif_opener()
    heic = io.BytesIO()
    scan.convert("RGB").save(heic, "HEIF", quality=90)
    jxl = b"\xff\x0a" + bytes(40)
    choose(
        page,
        payload("single.gif", single.getvalue(), "image/gif"),
        payload("moves.gif", animated.getvalue(), "image/gif"),
        payload("a.avif", avif.getvalue(), "image/avif"),
        payload("b.jxl", jxl, "image/jxl"),
        payload("photo.heic", heic.getvalue(), "image/heic"),
    )
    wait_until(page, "document.querySelectorAll('.file.is-done').length === 3")
    wait_until(page, "document.querySelectorAll('.file.is-failed').length === 2")
    assert states(page) == ["done", "failed", "done", "failed", "done"]
    page.click(".file-select >> nth=4")
    wait_until(page, "!document.getElementById('frame').hidden")
    wait_until(page, "document.getElementById('after').naturalWidth === 64")  # which Chromium cannot decode itself
    assert Image.open(io.BytesIO(download(page))).format == "PNG"
    assert words in page.inner_text(".file >> nth=1")
    assert "JXL" in page.inner_text(".file >> nth=3")
    visit.excuse(415)


# --- strength --------------------------------------------------------------------------------------------------


def test_a_strength_is_shown_at_once_and_downloaded_without_another_run(visit: Visit) -> None:
    page = visit("photos")
    data = picture()
    choose(page, payload("a.png", data, "image/png"))
    wait_for_result(page)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url) if request.method == "POST" else None)
    set_strength(page, 0.4)
    assert page.evaluate("document.getElementById('after').style.opacity") == "0.4"
    assert page.evaluate("document.getElementById('base').src === document.getElementById('before').src")
    assert requests == []
    blended = read(download(page)).astype(int)
    expected = httpx2.post(
        f"{visit.address}v1/models/photos/denoise?strength=0.4", content=data, headers={"Content-Type": "image/png"}
    )
    assert np.abs(blended - read(expected.content)).max() <= 1
    assert [url.rpartition("/")[2] for url in requests] == ["blend?strength=0.4"]
    requests.clear()
    for strength in (1.25, 1.5, 2):
        set_strength(page, strength)
    wait_until(page, "document.getElementById('after').style.opacity === '1'")
    set_strength(page, 1.25)
    wait_until(page, "document.getElementById('after').style.opacity === '0.25'")
    assert [url.rpartition("?")[2] for url in requests] == ["strength=2&report=progress"]  # whatever the slider does
    set_strength(page, 2)
    twice = httpx2.post(
        f"{visit.address}v1/models/photos/denoise?strength=2", content=data, headers={"Content-Type": "image/png"}
    )
    assert download(page) == twice.content
    assert len(requests) == 1


def test_a_strength_keeps_16_bits(visit: Visit) -> None:
    page = visit("pages")
    pixels = (np.asarray(Image.open(io.BytesIO(picture()))).astype(np.uint16) * 250) + 3
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    choose(page, payload("deep.png", buffer.getvalue(), "image/png"))
    wait_for_result(page)
    set_strength(page, 0.5)
    half = Image.open(io.BytesIO(download(page)))
    assert half.mode.startswith("I")
    expected = httpx2.post(
        f"{visit.address}v1/models/pages/denoise?strength=0.5",
        content=buffer.getvalue(),
        headers={"Content-Type": "image/png"},
    )
    assert np.abs(np.asarray(half).astype(int) - read(expected.content)).max() <= 128  # half a level of 8 bits


def test_axe_finds_nothing_in_the_list_and_nothing_sticks_out(visit: Visit) -> None:
    page = visit("pages")
    choose(
        page,
        payload("a.png", picture(), "image/png"),
        payload("broken.png", b"x", "image/png"),
        payload("scan.tif", tiff((48, 64), (50, 80)), "image/tiff"),
    )
    wait_until(page, "document.querySelectorAll('.file.is-done').length === 2")
    page.click(".file-select >> nth=2")
    page.evaluate(resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    for width, dark, language in ((1440, False, "en"), (390, True, "ko")):
        visit.resize(width=width, dark=dark)
        page.click(f"#languages [lang={language}]")
        page.wait_for_selector("#card-pictures figure", state="attached")
        report = page.evaluate("axe.run({resultTypes: ['violations']})")
        assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in report["violations"]] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
