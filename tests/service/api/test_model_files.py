"""Routes of the model cards' images: what is served, and what is not."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.model import package
from service.model.manifest import Label
from service.settings import Settings
from tests.service import packages as doubles

PNG = b"\x89PNG\r\n\x1a\nand so on"
WEBP = b"RIFF\x0a\0\0\0WEBPVP8L and so on"


@pytest.fixture
def gallery(tmp_path: Path) -> TestClient:
    """A service whose packages hold pictures, and things that only look like them."""
    models = doubles.write_all(tmp_path / "models")
    name = sorted(path.name for path in models.iterdir() if (path / "1").is_dir())[0]
    folder = models / name / "1"
    (folder / "before-after.png").write_bytes(PNG)
    (folder / "failures.webp").write_bytes(WEBP)
    (folder / "other.webp").write_bytes(PNG)
    (folder / "text.png").write_text("no picture")
    (tmp_path / "secret.png").write_bytes(PNG)
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "folder.png").mkdir()
    (folder / ".hidden.png").write_bytes(PNG)
    client = TestClient(create_app(Settings(models=models)))
    client.base_url = client.base_url.join(f"/v1/models/{name}/versions/1/")
    return client


def test_a_package_s_pictures_are_listed_and_served(gallery: TestClient) -> None:
    files = ["before-after.png", "failures.webp", "other.webp", "text.png"]
    assert gallery.get("files").json() == {"files": files, "labels": {}}
    answer = gallery.get("files/failures.webp")
    assert (answer.content, answer.headers["content-type"]) == (WEBP, "image/webp")
    answer = gallery.get("files/before-after.png")
    assert (answer.content, answer.headers["content-type"]) == (PNG, "image/png")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert gallery.get("files/before-after.png", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304


def test_the_words_in_pictures_are_listed_with_them(tmp_path: Path) -> None:
    models = doubles.write_all(tmp_path / "models")
    name = sorted(folder.name for folder in models.iterdir() if (folder / "1").is_dir())[0]
    word = Label(text="epoch", left=5, top=2, right=30, bottom=14, align="center", turn=None)
    facts = package.read(models / name / "1").manifest
    facts = facts.model_copy(update={"labels": {"curve.png": (word,), "deleted.png": (word,)}})
    (models / name / "1" / package.MANIFEST).write_bytes(package.to_json(facts))
    (models / name / "1" / "curve.png").write_bytes(PNG)
    with TestClient(create_app(Settings(models=models))) as client:
        answer = client.get(f"/v1/models/{name}/versions/1/files").json()
    assert answer == {"files": ["curve.png"], "labels": {"curve.png": [word.model_dump()]}}


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
