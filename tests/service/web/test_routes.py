"""The page and the card's pictures over HTTP, without a browser: what is served, and what is not."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from service.web import routes
from tests.service import packages as doubles

PNG = b"\x89PNG\r\n\x1a\nand so on"


def test_the_page_loads_nothing_from_elsewhere_and_nothing_inline(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert policy["img-src"] == "'self' blob: data:"
    found: list[tuple[str, dict[str, str | None]]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append((tag, dict(attrs)))

    Reader().feed(answer.text)
    assert not [tag for tag, attributes in found if tag == "style" or "style" in attributes]
    assert not [tag for tag, attributes in found for name in attributes if name.startswith("on")]
    assert all(attributes.get("src") for tag, attributes in found if tag == "script")
    used = [value for _, attributes in found for name, value in attributes.items() if name in {"src", "href"} and value]
    assert not [address for address in used if re.match(r"[a-z]+:|/", address)]  # relative: works below a prefix too
    for address in used:
        if address.startswith("page/"):
            assert client.get(f"/{address}").status_code == 200


def test_every_file_of_the_page_is_served_and_nothing_beside(client: TestClient) -> None:
    for file in routes.STATIC_FILES.iterdir():
        assert client.get(f"/page/{file.name}").content == file.read_bytes()
    for other in ("routes.py", "..%2Fapp.py", "%2e%2e/app.py", "", "nothing.js"):
        answer = client.get(f"/page/{other}")
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"


def test_what_a_browser_has_already_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/page/main.js")
    again = client.get("/page/main.js", headers={"If-None-Match": f'"other", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/page/main.js", headers={"If-None-Match": '"other"'}).status_code == 200
    assert client.head("/").status_code == 200


def test_the_page_can_be_left_out(models: Path) -> None:
    with TestClient(create_app(Settings(models=models, page=False))) as client:
        assert client.get("/").status_code == 404
        assert client.get("/page/main.js").status_code == 404
        assert client.get("/v1/models").status_code == 200


@pytest.fixture
def gallery(tmp_path: Path) -> TestClient:
    """A service whose packages hold pictures, and things that only look like them."""
    models = doubles.write_all(tmp_path / "models")
    name = sorted(folder.name for folder in models.iterdir() if (folder / "1").is_dir())[0]
    package = models / name / "1"
    (package / "before-after.png").write_bytes(PNG)
    (package / "text.png").write_text("no picture")
    (tmp_path / "secret.png").write_bytes(PNG)
    (package / "link.png").symlink_to(tmp_path / "secret.png")
    (package / "folder.png").mkdir()
    (package / ".hidden.png").write_bytes(PNG)
    client = TestClient(create_app(Settings(models=models)))
    client.base_url = client.base_url.join(f"/v1/models/{name}/versions/1/")
    return client


def test_a_package_s_pictures_are_listed_and_served(gallery: TestClient) -> None:
    assert gallery.get("files").json() == {"files": ["before-after.png", "text.png"]}
    answer = gallery.get("files/before-after.png")
    assert (answer.content, answer.headers["content-type"]) == (PNG, "image/png")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert gallery.get("files/before-after.png", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304


@pytest.mark.parametrize(
    "file",
    [
        "link.png", "folder.png", ".hidden.png", "text.png", "manifest.json", "encoder.onnx", "nothing.png",
        "..%2f1%2fbefore-after.png", "%2e%2e%2f%2e%2e%2fsecret.png", "before-after.png%00", "before-after.png%0a",
    ],
)  # fmt: skip
def test_nothing_else_of_a_package_is_served(gallery: TestClient, file: str) -> None:
    answer = gallery.get(f"files/{file}")
    assert answer.status_code == 404
    assert PNG not in answer.content


def test_pictures_of_unknown_models_and_versions_are_404(client: TestClient) -> None:
    for address in ("/v1/models/nobody/versions/1/files", "/v1/models/..%2f..%2f/versions/1/files/a.png"):
        assert client.get(address).status_code == 404
