"""Routes of the page, without a browser: what is served, and what is not."""

import re
from html.parser import HTMLParser
from pathlib import Path

from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from service.web import routes


def test_the_page_loads_nothing_from_elsewhere_and_nothing_inline(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert policy["img-src"] == "'self' blob: data:"
    elements: list[tuple[str, dict[str, str | None]]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            elements.append((tag, dict(attrs)))

    Reader().feed(answer.text)
    assert not [tag for tag, attributes in elements if tag == "style" or "style" in attributes]
    assert not [tag for tag, attributes in elements for name in attributes if name.startswith("on")]
    assert all(attributes.get("src") for tag, attributes in elements if tag == "script")
    links = [
        value for _, attributes in elements for name, value in attributes.items() if name in {"src", "href"} and value
    ]
    assert not [address for address in links if re.match(r"[a-z]+:|/", address)]  # relative: works below a prefix too
    for address in links:
        if address.startswith("page/"):
            assert client.get(f"/{address}").status_code == 200


def test_every_file_of_the_page_is_served_and_nothing_beside(client: TestClient) -> None:
    for file in routes.STATIC_FILES.iterdir():
        assert client.get(f"/page/{file.name}").content == file.read_bytes()
    for name in ("routes.py", "..%2Fapp.py", "%2e%2e/app.py", "", "nothing.js"):
        answer = client.get(f"/page/{name}")
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
