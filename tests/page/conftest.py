"""The page as a person has it: the shipped models, served by a process of their own, in a real Chromium."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Request, sync_playwright

ROOT = Path(__file__).parents[2]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """http://127.0.0.1:<port>/ of a running service."""
    if CHROMIUM is None:
        pytest.skip("no chromium is installed: apt-get install chromium")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "service", "serve", "--port", str(port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as service:
        try:
            _wait_for(port, service)
            yield f"http://127.0.0.1:{port}/"
        finally:
            service.terminate()


@pytest.fixture(scope="session")
def browser(address: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


class Visit:
    """Opens pages, and notes what they ask for and complain about."""

    def __init__(self, browser: Browser, address: str, pages: dict[tuple[object, ...], Page]) -> None:
        self.browser, self.address, self._pages = browser, address, pages
        self.complaints: list[str] = []
        self._used: list[Page] = []
        self.outside: list[str] = []

    def __call__(self, model: str, *, width: int = 1440, scheme: str = "light", language: str = "en-US") -> Page:
        """The page, loaded anew, with `model` chosen; windows are kept from test to test, since they open slowly."""
        kind = (width, scheme, language)
        page = self._pages.get(kind) or self._open(width, scheme, language)
        self._pages[kind] = page
        if page not in self._used:
            self._used.append(page)
            page.on("console", self._hear)
            page.on("pageerror", self._crash)
            page.on("request", self._note)
        page.goto("about:blank")
        page.goto(f"{self.address}#{model}")
        page.wait_for_selector("#stage:not([hidden])")
        return page

    def _open(self, width: int, scheme: str, language: str) -> Page:
        context = self.browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
            locale=language,
            has_touch=width < 600,
            permissions=["clipboard-read", "clipboard-write"],
        )
        context.set_default_timeout(20_000)
        return context.new_page()

    def leave(self) -> None:
        for page in self._used:
            page.remove_listener("console", self._hear)
            page.remove_listener("pageerror", self._crash)
            page.remove_listener("request", self._note)

    def _hear(self, said: ConsoleMessage) -> None:
        if said.type in {"error", "warning"}:
            self.complaints.append(said.text)

    def _crash(self, error: Error) -> None:
        self.complaints.append(str(error))

    def _note(self, request: Request) -> None:
        if not request.url.startswith((self.address, "blob:", "data:", "about:")):
            self.outside.append(request.url)


@pytest.fixture(scope="session")
def pages() -> dict[tuple[object, ...], Page]:
    return {}


@pytest.fixture
def visit(browser: Browser, address: str, pages: dict[tuple[object, ...], Page]) -> Iterator[Visit]:
    """Fails the test if a page wrote an error to the console, or asked for anything from elsewhere."""
    visit = Visit(browser, address, pages)
    yield visit
    visit.leave()
    assert visit.complaints == []
    assert visit.outside == []


def _wait_for(port: int, service: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and service.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the service did not start")
