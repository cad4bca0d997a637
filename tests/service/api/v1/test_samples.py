"""New samples over HTTP: counts, seeds, forms of the answer, refusals."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image as Pillow
from starlette.testclient import TestClient

from service.model.errors import ManifestError
from tests.service import packages as doubles
from tests.service.http import metrics, refused, served, url

OPERATIONS: Any = ("encode", "decode", "reconstruct", "sample")
SAMPLE = url("sample", "drawer")


@pytest.fixture(scope="module")
def drawer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """drawer (28x28 grey) and waves (vectors), which sample, and plain, which does not."""
    models = tmp_path_factory.mktemp("models")
    doubles.write(models, "drawer", doubles.image_graphs(), kind="variational", operations=OPERATIONS)
    doubles.write(models, "waves", doubles.vector_graphs(), kind="variational", operations=OPERATIONS)
    doubles.write(models, "plain", doubles.image_graphs())
    with served(models, max_batch=200) as client:
        yield client


def read(answer: Any) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return np.asarray(np.load(io.BytesIO(answer.content)))


def draw(client: TestClient, query: str, model: str = "drawer") -> np.ndarray:
    return read(client.post(f"{url('sample', model)}{query}", headers={"Accept": "application/x-npy"}))


def test_a_seed_draws_the_same_and_a_larger_count_begins_with_it(drawer: TestClient) -> None:
    many, few, others = (draw(drawer, query) for query in ("?count=9&seed=4", "?count=3&seed=4", "?count=3&seed=5"))
    assert many.shape == (9, 28, 28, 1)
    assert many.dtype == np.uint8
    np.testing.assert_array_equal(many[:3], few)
    assert (few != others).any()


def test_without_a_seed_the_answer_names_the_one_that_was_chosen(drawer: TestClient) -> None:
    answers = [drawer.post(f"{SAMPLE}?count=2", headers={"Accept": "application/x-npy"}) for _ in range(2)]
    seeds = [answer.headers["Sample-Seed"] for answer in answers]
    assert seeds[0] != seeds[1]
    np.testing.assert_array_equal(draw(drawer, f"?count=2&seed={seeds[0]}"), read(answers[0]))


def test_samples_are_decoded_draws_and_json_has_their_latents(drawer: TestClient) -> None:
    document = drawer.post(f"{SAMPLE}?count=300&seed=1", headers={"Accept": "application/json"})
    refused(document, 413, "count is 300; the limit is 200")
    answer = drawer.post(f"{SAMPLE}?count=150&seed=1", headers={"Accept": "application/json"}).json()
    assert {"model": "drawer", "version": 1, "operation": "sample", "seed": 1}.items() <= answer.items()
    latents = np.array(answer["latents"])
    assert latents.shape == (150, 32)
    assert abs(latents.mean()) < 0.1
    assert abs(latents.std() - 1) < 0.1
    body = {"latents": answer["latents"], "model": "drawer", "version": 1}
    decoded = drawer.post(url("decode", "drawer"), json=body, headers={"Accept": "application/json"}).json()
    assert decoded["outputs"] == answer["outputs"]


@pytest.mark.parametrize(("query", "side"), [("", 28), ("?count=4", 56), ("?count=5", 84)])
def test_pictures_lie_side_by_side_in_one_file(drawer: TestClient, query: str, side: int) -> None:
    answer = drawer.post(f"{SAMPLE}{query}", headers={"Accept": "*/*"})
    assert answer.headers["Content-Type"] == "image/png"
    assert (answer.headers["Model-Name"], answer.headers["Model-Version"]) == ("drawer", "1")
    assert Pillow.open(io.BytesIO(answer.content)).width == side
    jpeg = drawer.post(f"{SAMPLE}{query}", headers={"Accept": "image/jpeg"})
    assert Pillow.open(io.BytesIO(jpeg.content)).format == "JPEG"


def test_vectors_are_answered_as_numbers(drawer: TestClient) -> None:
    assert draw(drawer, "?count=7&seed=1", "waves").shape == (7, 6)
    answer = drawer.post(url("sample", "waves") + "?count=2")
    assert answer.headers["Content-Type"] == "application/json"
    assert len(answer.json()["outputs"]) == 2
    refused(drawer.post(url("sample", "waves"), headers={"Accept": "image/png"}), 406, "sample answers")


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("?count=0", "count is '0'; allowed are whole numbers from 1"),
        ("?count=many", "count is 'many'"),
        ("?seed=-1", "seed is '-1'; allowed are whole numbers from 0 to 999999999"),
        ("?strength=1", "strength is for denoise; sample has nothing to weaken"),
        ("?size=3", "there is no parameter 'size'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(drawer: TestClient, query: str, sentence: str) -> None:
    refused(drawer.post(f"{SAMPLE}{query}"), 422, sentence)


def test_other_refusals(drawer: TestClient) -> None:
    refused(drawer.post(SAMPLE, json={"count": 3}), 422, "sample takes no body; count and seed are parameters")
    refused(drawer.post(url("sample", "plain")), 409, "plain has no operation sample")
    refused(drawer.post(f"{url('encode', 'drawer')}?seed=1", content=b"x"), 422, "seed is for sample")
    refused(drawer.get(SAMPLE), 405, "GET is not allowed")


def test_v2_does_not_sample(drawer: TestClient) -> None:
    names = {entry["name"] for entry in drawer.post("/v2/repository/index").json()}
    assert "drawer.decode" in names
    assert "drawer.sample" not in names
    assert drawer.get("/v2/models/drawer.sample").status_code == 404
    assert drawer.get("/v2/models/drawer.sample/ready").status_code == 404


def test_requests_are_counted_and_documented(drawer: TestClient) -> None:
    drawer.post(SAMPLE)
    counted = [name for name in metrics(drawer) if "sample" in name]
    assert counted
    document = drawer.get("/openapi.json").json()["paths"]["/v1/models/{name}/sample"]["post"]
    assert "requestBody" not in document
    assert {"count", "seed"} <= {parameter["name"] for parameter in document["parameters"]}
    assert "Sample-Seed" in document["responses"]["200"]["headers"]


def test_a_package_without_a_latent_of_one_shape_cannot_sample(tmp_path: Path) -> None:
    latent = ("latent", TensorProto.FLOAT, ["N", 1, "h", "w"])
    image = ("image", TensorProto.UINT8, ["N", "h", "w", 1])
    cast, transpose = (
        helper.make_node("Cast", ["latent"], ["bytes"], to=TensorProto.UINT8),
        helper.make_node("Transpose", ["bytes"], ["image"], perm=[0, 2, 3, 1]),
    )
    decoder = doubles.graph([cast, transpose], latent, image, {})
    facts: Any = {"kind": "variational", "operations": ("decode",), "reconstruction_error_quantiles": None}
    doubles.write(tmp_path, "any", {"decoder": decoder}, **facts)
    with pytest.raises(ManifestError, match="which needs a latent of one shape"):
        doubles.write(tmp_path, "other", {"decoder": decoder}, **{**facts, "operations": ("decode", "sample")})


def test_bytes_are_answered_to_whom_asks_for_bytes(drawer: TestClient) -> None:
    picture = drawer.post(f"{SAMPLE}?count=2&seed=1")
    raw = drawer.post(f"{SAMPLE}?count=2&seed=1", headers={"Accept": "application/octet-stream"})
    assert (picture.headers["content-type"], raw.headers["content-type"]) == ("image/png", "application/octet-stream")
    assert raw.content == picture.content
