"""Units do not matter, from the file to the response: neither a column's unit and offset, nor how the file holds it."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from service.codecs.json_documents import large_json
from service.model import package
from service.model.manifest import Manifest
from tests.drawings import build_small_recipe
from tests.service.http import served
from training.data import datasets
from training.train_autoencoder import run

WHOLE = np.rint(np.random.default_rng(0).standard_normal((150, 2)) @ np.array([[90, -30, 60, 20], [10, 70, 5, -60]]))
COLUMNS = np.concatenate([WHOLE, np.full((150, 1), 7.0)], axis=1)  # the last one is constant
FACTOR, OFFSET = np.array([1, 1e-9, 1e9, 1, 1]), np.array([0, 0, 0, 1e6, 1e6])
SCALED = COLUMNS * FACTOR + OFFSET


def write_text(path: Path, vectors: np.ndarray, delimiter: str, decimal: str) -> Path:
    lines = [delimiter.join(repr(float(x)).replace(".", decimal) for x in row) for row in vectors]
    path.write_text("\n".join(["a;b;c;d;e".replace(";", delimiter), *lines]))
    return path


def write_npy(path: Path, vectors: np.ndarray) -> Path:
    np.save(path, vectors)
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("units")
    files = {
        "float64": write_npy(folder / "float64.npy", COLUMNS),
        "int64": write_npy(folder / "int64.npy", COLUMNS.astype(np.int64)),
        "scaled": write_npy(folder / "scaled.npy", SCALED),
        "text": write_text(folder / "text.csv", SCALED, ";", ","),
    }
    for name, file in files.items():
        recipe = build_small_recipe(file, {"architecture.latent_dim": 2})
        run(recipe, datasets.load(recipe.data), folder / "models" / name, folder / "runs", torch.device("cpu"))
    return folder / "models"


@pytest.fixture(scope="module")
def client(models: Path) -> Iterator[TestClient]:
    with served(models) as client:
        yield client


def manifest(models: Path, name: str) -> Manifest:
    return package.read(models / name / "1").manifest


def ask(client: TestClient, name: str, operation: str, vectors: np.ndarray, query: str = "") -> dict[str, Any]:
    key = "inputs"
    response = client.post(f"/v1/models/{name}/{operation}{query}", json={key: vectors.tolist()})
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


@pytest.mark.parametrize("name", ["int64", "scaled", "text"])
def test_latents_errors_percentiles_and_verdicts_are_those_of_the_plain_file(client: TestClient, name: str) -> None:
    samples = np.concatenate([COLUMNS[:100], COLUMNS[:20] * 3])
    own = samples * FACTOR + OFFSET if name in ("scaled", "text") else samples
    own[:, 4] = 7.0 if name == "int64" else 7.0 + 1e6
    samples[:, 4] = 7.0
    expected, actual = (ask(client, n, "encode", x)["latents"] for n, x in (("float64", samples), (name, own)))
    np.testing.assert_allclose(actual, expected, atol=1e-4 * np.abs(expected).max())
    query = "?false_alarm_rate=0.1"
    expected_answer = ask(client, "float64", "reconstruct", samples, query)
    answer = ask(client, name, "reconstruct", own, query)
    np.testing.assert_allclose(answer["reconstruction_error"], expected_answer["reconstruction_error"], rtol=1e-3)
    np.testing.assert_allclose(answer["percentile"], expected_answer["percentile"], atol=0.1)
    assert answer["unusual"] == expected_answer["unusual"]
    assert (
        np.argsort(answer["reconstruction_error"]).tolist()
        == np.argsort(expected_answer["reconstruction_error"]).tolist()
    )
    outputs = (np.array(answer["outputs"]) - (OFFSET if name != "int64" else 0)) / (FACTOR if name != "int64" else 1)
    np.testing.assert_allclose(outputs, expected_answer["outputs"], atol=0.02)


@pytest.mark.parametrize("name", ["int64", "scaled", "text"])
def test_measurements_and_their_baselines_are_those_of_the_plain_file(models: Path, name: str) -> None:
    expected, actual = (manifest(models, n).evaluation["reconstruction_mse"] for n in ("float64", name))
    assert actual.value == pytest.approx(expected.value, rel=1e-3)
    assert actual.baselines == pytest.approx(expected.baselines, rel=1e-6)
    assert actual.unit == "mean squared error, in standard deviations"


def test_the_manifest_names_the_columns(models: Path) -> None:
    columns = manifest(models, "text").columns
    assert columns is not None
    assert [column.name for column in columns] == ["a", "b", "c", "d", "e"]
    assert [column.deviation == 0 for column in columns] == [False] * 4 + [True]
    plain = manifest(models, "float64").columns
    assert plain is not None
    assert plain[0].name is None


def test_a_column_that_was_constant_and_changes_is_unusual(client: TestClient) -> None:
    usual, changed = SCALED[:20], SCALED[:20].copy()
    changed[:, 4] += 0.5 * 1e6
    assert min(ask(client, "scaled", "reconstruct", changed)["percentile"]) == 100
    assert np.mean(ask(client, "scaled", "reconstruct", usual)["percentile"]) < 90
    latents = [ask(client, "scaled", "encode", x)["latents"] for x in (usual, changed)]
    assert latents[0] == latents[1]


def test_the_mean_of_a_heatmap_is_the_error(client: TestClient) -> None:
    answer = ask(client, "scaled", "reconstruct", SCALED[:9])
    heatmaps = ask(client, "scaled", "reconstruct", SCALED[:9], "?explain=heatmap")["heatmaps"]
    np.testing.assert_allclose(np.mean(heatmaps, axis=1), answer["reconstruction_error"], rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_arrays_of_any_dtype_are_taken(client: TestClient, dtype: type) -> None:
    buffer = io.BytesIO()
    np.save(buffer, COLUMNS[:5].astype(dtype))
    headers = {"Content-Type": "application/x-npy", "Accept": "application/x-npy"}
    response = client.post("/v1/models/int64/reconstruct", content=buffer.getvalue(), headers=headers)
    assert response.status_code == 200
    output = np.load(io.BytesIO(response.content))
    assert output.dtype == np.float64
    assert output.shape == (5, 5)


def test_the_open_inference_protocol_names_the_dtype(client: TestClient) -> None:
    metadata = client.get("/v2/models/scaled").json()
    (vector,) = [tensor for tensor in metadata["inputs"] if tensor["name"] == "vector"]
    assert vector["datatype"] == "FP64"
    tensor = {"name": "vector", "datatype": "FP64", "shape": [2, 5], "data": SCALED[:2].tolist()}
    outputs = client.post("/v2/models/scaled/infer", json={"inputs": [tensor]}).json()["outputs"]
    assert outputs[0]["datatype"] == "FP64"


def test_large_json_keeps_all_digits_too(client: TestClient) -> None:
    body = json.dumps({"inputs": np.concatenate([SCALED] * 27).tolist()}, indent=4)
    assert len(body) > large_json.LARGE_BYTES
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    large = client.post("/v1/models/scaled/encode", content=body, headers=headers).json()["latents"][-150:]
    few = ask(client, "scaled", "encode", SCALED)["latents"]
    np.testing.assert_allclose(large, few, atol=1e-5 * np.abs(few).max())
