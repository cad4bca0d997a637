"""Fixtures of the page: the shipped models, served by a process of their own, and a real Chromium."""

import os
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


class Server:
    """A service of the shipped models in a process of its own, which tests may end and start again.

    Args:
        settings: environment variables, without their prefix.
    """

    def __init__(self, **settings: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._settings = {f"AUTOENCODER_{name}": value for name, value in {"DRAIN": "0", **settings}.items()}
        self.address = f"http://127.0.0.1:{self._port}/"

    def start(self) -> None:
        command = [sys.executable, "-m", "service", "serve", "--port", str(self._port)]
        environment, nowhere = {**os.environ, **self._settings}, subprocess.DEVNULL
        self._process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=nowhere, stderr=nowhere)
        _wait_for(self._port, self._process)

    def stop(self) -> None:
        """At once, as if it had crashed."""
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")  # and no longer: while Playwright is there, asyncio.run is not
def address() -> Iterator[str]:
    """http://127.0.0.1:<port>/ of a running service."""
    if CHROMIUM is None:
        pytest.skip("no chromium is installed: apt-get install chromium")
    server = Server()
    server.start()
    yield server.address
    server.stop()


@pytest.fixture(scope="module")
def browser(address: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


class Visit:
    """Loads the page with a model selected; records its console errors and its requests to other hosts.

    One window serves all tests, since it opens slowly: size and colour scheme are emulated. `complaints` and
    `external_requests` are those of one test.
    """

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        self.complaints: list[str] = []
        self.external_requests: list[str] = []
        page.on("console", self._record_console)
        page.on("pageerror", self._record_exception)
        page.on("request", self._record_request)

    def __call__(self, model: str, *, width: int = 1440, dark: bool = False, language: str = "en") -> Page:
        self.resize(width=width, dark=dark)
        self.page.goto("about:blank")  # else only the part after # changes, and the state of the last test stays
        self.page.goto(f"{self.address}#{model}")
        self.page.wait_for_selector("#stage:not([hidden])")
        if self.page.get_attribute("html", "lang") != language:
            self.page.click(f"#languages [lang={language}]")
        return self.page

    def resize(self, *, width: int, dark: bool) -> None:
        self.page.set_viewport_size({"width": width, "height": 800})
        self.page.emulate_media(color_scheme="dark" if dark else "light")

    def excuse(self, status: int) -> None:
        """Drop the line that Chromium writes for an expected error status."""
        self.complaints = [line for line in self.complaints if f"status of {status}" not in line]

    def close(self) -> None:
        self.page.remove_listener("console", self._record_console)
        self.page.remove_listener("pageerror", self._record_exception)
        self.page.remove_listener("request", self._record_request)

    def _record_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def _record_exception(self, error: Error) -> None:
        self.complaints.append(str(error))

    def _record_request(self, request: Request) -> None:
        if not request.url.startswith((self.address, "blob:", "data:", "about:")):
            self.external_requests.append(request.url)


@pytest.fixture(scope="module")
def window(browser: Browser) -> Page:
    context = browser.new_context(locale="ko-KR", permissions=["clipboard-read", "clipboard-write"])
    context.set_default_timeout(20_000)
    return context.new_page()


@pytest.fixture
def visit(window: Page, address: str) -> Iterator[Visit]:
    """Fails the test if the page wrote an error to the console, or sent a request to another host."""
    visit = Visit(window, address)
    yield visit
    visit.close()
    assert visit.complaints == []
    assert visit.external_requests == []


def _wait_for(port: int, service: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and service.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the service did not start")
