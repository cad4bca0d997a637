"""Routes of the model cards' images: what is served, and what is not."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.service import packages as doubles

PNG = b"\x89PNG\r\n\x1a\nand so on"
WEBP = b"RIFF\x0a\0\0\0WEBPVP8L and so on"


@pytest.fixture
def gallery(tmp_path: Path) -> TestClient:
    """A service whose packages hold pictures, and things that only look like them."""
    models = doubles.write_all(tmp_path / "models")
    name = sorted(folder.name for folder in models.iterdir() if (folder / "1").is_dir())[0]
    package = models / name / "1"
    (package / "before-after.png").write_bytes(PNG)
    (package / "failures.webp").write_bytes(WEBP)
    (package / "other.webp").write_bytes(PNG)
    (package / "text.png").write_text("no picture")
    (tmp_path / "secret.png").write_bytes(PNG)
    (package / "link.png").symlink_to(tmp_path / "secret.png")
    (package / "folder.png").mkdir()
    (package / ".hidden.png").write_bytes(PNG)
    client = TestClient(create_app(Settings(models=models)))
    client.base_url = client.base_url.join(f"/v1/models/{name}/versions/1/")
    return client


def test_a_package_s_pictures_are_listed_and_served(gallery: TestClient) -> None:
    assert gallery.get("files").json() == {"files": ["before-after.png", "failures.webp", "other.webp", "text.png"]}
    answer = gallery.get("files/failures.webp")
    assert (answer.content, answer.headers["content-type"]) == (WEBP, "image/webp")
    answer = gallery.get("files/before-after.png")
    assert (answer.content, answer.headers["content-type"]) == (PNG, "image/png")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert gallery.get("files/before-after.png", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304


@pytest.mark.parametrize(
    "file",
    [
        "link.png", "folder.png", ".hidden.png", "text.png", "other.webp", "manifest.json", "encoder.onnx",
        "nothing.png", "..%2f1%2fbefore-after.png",
        "%2e%2e%2f%2e%2e%2fsecret.png", "before-after.png%00", "before-after.png%0a",
    ],
)  # fmt: skip
def test_nothing_else_of_a_package_is_served(gallery: TestClient, file: str) -> None:
    answer = gallery.get(f"files/{file}")
    assert answer.status_code == 404
    assert PNG not in answer.content


def test_pictures_of_unknown_models_and_versions_are_404(client: TestClient) -> None:
    for address in ("/v1/models/nobody/versions/1/files", "/v1/models/..%2f..%2f/versions/1/files/a.png"):
        assert client.get(address).status_code == 404
