"""Sparse latents over HTTP: the largest features of each, as JSON or .npy, and back."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from service.model.manifest import Column
from tests.service import packages as doubles
from tests.service.http import NPY, npy, picture, refused, served, url

VECTORS = np.array([[0, 3, 0, 1, 0, 0.5], [0, 0, 0, 7, -8, 0]], np.float32)


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """`sae`, whose latents are the vectors times 2; `normalised`, whose last two numbers are no features."""
    models: Path = tmp_path_factory.mktemp("models")
    columns: Any = tuple(Column(mean=0.25, deviation=2) for _ in range(6))
    doubles.write(models, "sae", doubles.vector_graphs(), kind="sparse", columns=columns)
    doubles.write(models, "normalised", doubles.vector_graphs(), kind="sparse", features=4)
    doubles.write(models, "small", doubles.image_graphs())
    with served(models, max_batch=20) as client:
        yield client


def test_the_largest_features_are_answered_with_their_indices(sparse: TestClient) -> None:
    body = {"inputs": VECTORS.tolist()}
    document = sparse.post(url("encode", "sae") + "?top=2", json=body).json()
    assert "latents" not in document
    assert document["indices"] == [[1, 3], [4, 3]]
    assert document["values"] == [[6, 2], [-16, 14]]
    decoded = sparse.post(url("decode", "sae"), json=document).json()["outputs"]
    assert decoded == [[0, 3, 0, 1, 0, 0], [0, 0, 0, 7, -8, 0]]
    single = {"indices": document["indices"][0], "values": document["values"][0]}
    assert sparse.post(url("decode", "sae"), json=single).json()["outputs"] == decoded[:1]


def test_a_pair_is_one_npy(sparse: TestClient) -> None:
    headers = {**NPY, "Accept": "application/x-npy"}
    answer = sparse.post(url("encode", "sae") + "?top=2", content=npy(VECTORS), headers=headers)
    pair = np.load(io.BytesIO(answer.content))
    assert pair.tolist() == [[[1, 3], [6, 2]], [[4, 3], [-16, 14]]]
    decoded = sparse.post(url("decode", "sae"), content=answer.content, headers=headers)
    np.testing.assert_array_equal(np.load(io.BytesIO(decoded.content)), [[0, 3, 0, 1, 0, 0], [0, 0, 0, 7, -8, 0]])


def test_mean_and_scale_are_always_answered(sparse: TestClient) -> None:
    body = {"inputs": [[0, 3, 0, 1, 0.1, 0.5]]}
    document = sparse.post(url("encode", "normalised") + "?top=1", json=body).json()
    assert document["indices"] == [[1, 4, 5]]
    decoded = sparse.post(url("decode", "normalised"), json=document).json()["outputs"]
    np.testing.assert_allclose(decoded, [[0, 3, 0, 0, 0.1, 0.5]], rtol=1e-6)


def test_a_stream_of_files_has_the_largest_too(sparse: TestClient) -> None:
    image = np.arange(784, dtype=np.uint8).reshape(28, 28) % 50
    files = [("image", ("a.png", picture(image), "image/png"))]
    answer = sparse.post(url("encode") + "?top=2", files=files, headers={"Accept": "application/x-ndjson"})
    line = answer.json()
    assert line["indices"] == [[31, 30]]
    np.testing.assert_allclose(line["values"], [[31 / 255, 30 / 255]], rtol=1e-6)


def test_reconstruct_gives_explained_variance(sparse: TestClient) -> None:
    document = sparse.post(url("reconstruct", "sae"), json={"inputs": VECTORS.tolist()}).json()
    np.testing.assert_allclose(document["explained_variance"], [1, 1])
    headers = {**NPY, "Accept": "application/x-npy"}
    answer = sparse.post(url("reconstruct", "sae"), content=npy(VECTORS), headers=headers)
    assert answer.headers["explained-variance"] == "1, 1"
    other = sparse.post(url("reconstruct", "normalised"), json={"inputs": VECTORS.tolist()}).json()
    assert "explained_variance" not in other  # its package has no means


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"values": [[1.0]]}, "both must be [N,k]"),
        ({"indices": [[1, 6]]}, "the index 6"),
        ({"indices": [[1, 1]]}, "twice"),
        ({"latents": [[1.0] * 6]}, "either latents, or indices and values"),
        ({"indices": [[0, 1]] * 21, "values": [[0, 1]] * 21}, "the limit is 20"),
        ({"indices": [["a", "b"]]}, "text"),
    ],
)
def test_pairs_that_cannot_be_used_are_refused(sparse: TestClient, change: dict[str, Any], sentence: str) -> None:
    body = {"indices": [[1, 2]], "values": [[1.0, 2.0]], **change}
    answer = sparse.post(url("decode", "sae"), json=body)
    assert answer.status_code in (413, 422)
    assert sentence in answer.json()["detail"]


def test_top_is_for_encode_and_for_plain_latents(sparse: TestClient, tmp_path: Path) -> None:
    refused(sparse.post(url("decode", "sae") + "?top=2", json={"latents": [[1.0] * 6]}), 422, "top is for encode")
    refused(sparse.post(url("encode", "sae") + "?top=0", json={"inputs": [[1.0] * 6]}), 422, "top is '0'")
    refused(sparse.post(url("decode", "sae"), json={"indices": [[1]]}), 422, "indices and values")
    three = npy(np.zeros((1, 3, 4), np.float32))
    refused(sparse.post(url("decode", "sae"), content=three, headers=NPY), 422, "[N,2,k]")
    body = {"inputs": [{"name": "vector", "datatype": "FP32", "shape": [1, 6], "data": [1, 2, 3, 4, 5, 6]}]}
    answer = sparse.post("/v2/models/sae.encode/infer?top=2", json=body)
    assert answer.status_code == 422
    assert "top is for /v1/models/{name}/encode" in answer.json()["error"]
