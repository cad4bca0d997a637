"""POST .../neighbours: pictures, arrays, tables in; JSON and CSV out; packages without an index."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from service.model.measures.neighbours import INDEX_FILE, Index, write_index
from tests.service import packages as doubles
from tests.service.http import npy, picture, refused, served

ADDRESS = "/v1/models/small/neighbours"


def test_the_nearest_are_named_with_their_distance_and_picture(client: TestClient) -> None:
    pixels = np.zeros((1, 28, 28), np.uint8)
    pixels[0, 0, 0] = 128  # the first number of the latent: 0.502
    document = client.post(
        f"{ADDRESS}?count=3", content=npy(pixels), headers={"Content-Type": "application/x-npy"}
    ).json()
    assert (document["model"], document["operation"], document["size"]) == ("small", "neighbours", 20)
    (found,) = document["neighbours"]
    assert [(neighbour["row"], neighbour["name"]) for neighbour in found] == [(10, "n10"), (11, "n11"), (9, "n9")]
    assert abs(found[0]["distance"] - abs(128 / 255 - 0.5)) < 1e-3
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(found[0]["image"]))))
    assert image.shape == (28, 28)
    assert (image == 10).all()


def test_a_picture_and_a_batch_and_csv(client: TestClient) -> None:
    data = picture(np.zeros((28, 28), np.uint8))
    answer = client.post(ADDRESS, content=data, headers={"Content-Type": "image/png"})
    assert len(answer.json()["neighbours"][0]) == 8
    assert answer.headers["model-version"] == "2"
    text = client.post(
        "/v1/models/small/versions/1/neighbours?count=2",
        json={"inputs": np.zeros((3, 28, 28)).astype(int).tolist()},
        headers={"Accept": "text/csv"},
    ).text
    assert text.splitlines()[:2] == ["sample,rank,row,name,distance", "0,1,0,n0,0.0"]
    assert len(text.splitlines()) == 7


def test_refusals(client: TestClient) -> None:
    body, headers = npy(np.zeros((1, 28, 28), np.uint8)), {"Content-Type": "application/x-npy"}
    for query in ("count=0", "count=101", "count=x", "count="):
        refused(client.post(f"{ADDRESS}?{query}", content=body, headers=headers), 422, "from 1 to 100")
    refused(client.post(f"{ADDRESS}?top=3", content=body, headers=headers), 422, "allowed are count, fit and white")
    refused(client.post(ADDRESS, content=body, headers={**headers, "Accept": "image/png"}), 406, "application/json")
    refused(client.post(ADDRESS, content=npy(np.zeros((1, 5, 5), np.uint8)), headers=headers), 422, "28x28")
    document = refused(client.post("/v1/models/signal/neighbours", json={"inputs": [[1] * 6]}), 409, "build one")
    assert document["title"] == "Index missing"
    refused(client.post("/v1/models/negative/neighbours", content=body, headers=headers), 409, "no operation encode")
    refused(client.post("/v1/models/dog/neighbours", content=body, headers=headers), 404, "no model")
    refused(client.get(ADDRESS), 405, "GET")
    assert client.get("/v1/models/small").json()["neighbours"] is True
    assert client.get("/v1/models/signal").json()["neighbours"] is False


def test_an_index_is_read_again_when_it_changes_and_one_inside_the_package_is_taken(tmp_path: Path) -> None:
    doubles.write(tmp_path, "signal", doubles.vector_graphs())
    (tmp_path / "signal" / "1" / INDEX_FILE).write_bytes(write_index(Index(np.zeros((2, 6), np.float16))))
    with served(tmp_path) as client:

        def ask() -> list[str]:
            (found,) = client.post("/v1/models/signal/neighbours", json={"inputs": [[1] * 6]}).json()["neighbours"]
            return [neighbour["name"] for neighbour in found]

        assert ask() == ["0", "1"]
        beside = tmp_path / "signal" / f"1.{INDEX_FILE}"
        beside.write_bytes(write_index(Index(np.zeros((3, 6), np.float32), ("a", "b", "c"))))
        assert ask() == ["a", "b", "c"]
        beside.write_bytes(b"damaged")
        response = client.post("/v1/models/signal/neighbours", json={"inputs": [[1] * 6]})
        refused(response, 500, "cannot be read; build it again")
        beside.unlink()
        assert ask() == ["0", "1"]


def test_the_examples_of_a_package(tmp_path: Path) -> None:
    doubles.write(tmp_path, "signal", doubles.vector_graphs())
    doubles.write(tmp_path, "plain", doubles.vector_graphs())
    np.save(tmp_path / "signal" / "1" / "examples.npy", np.arange(12.0).reshape(2, 6))
    np.save(tmp_path / "plain" / "1" / "examples.npy", np.zeros((2, 5)))
    with served(tmp_path) as client:
        assert client.get("/v1/models/signal").json()["examples"] is True
        document = client.get("/v1/models/signal/versions/1/examples").json()
        assert document == {"inputs": np.arange(12.0).reshape(2, 6).tolist(), "source": "drawn", "licence": "ours"}
        refused(client.get("/v1/models/plain/versions/1/examples"), 404, "there is nothing at")
