"""Routes of /v2: health, metadata, statistics, index; by NVIDIA's own client against a server process, and one by one.

tritonclient (BSD-3-Clause) is the client of Triton's users; it has no knowledge of this service.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from service.api.v2.schemas import StatisticsList
from service.app import create_app
from service.settings import Settings
from tests.service.api.v2.protocol import (
    DRAWINGS,
    ONE_DRAWING,
    InferenceServerException,
    infer,
    inference_request,
    refused,
    tensor,
)
from tests.service.http import npy


def test_the_server_and_its_models_are_alive_ready_and_described(server: Any) -> None:
    assert server.is_server_live()
    assert server.is_server_ready()
    assert server.get_server_metadata()["extensions"] == ["binary_tensor_data", "statistics"]
    assert server.is_model_ready("small")
    assert server.is_model_ready("small.encode", "1")
    assert not server.is_model_ready("small", "9")
    assert not server.is_model_ready("signal.denoise"), "it has no such operation"
    latent = {"name": "latent", "datatype": "FP32", "shape": [-1, 32]}
    drawing = {"name": "image", "datatype": "UINT8", "shape": [-1, 28, 28, 1]}
    assert server.get_model_metadata("small.encode") == {
        "name": "small.encode",
        "versions": ["1", "2"],
        "platform": "onnxruntime_onnx",
        "inputs": [drawing],
        "outputs": [latent],
    }
    decode = server.get_model_metadata("small.decode", "1")
    assert (decode["inputs"], decode["outputs"]) == ([latent], [drawing])
    outputs = server.get_model_metadata("signal")["outputs"]
    assert [(o["name"], o["datatype"], o["shape"]) for o in outputs] == [
        ("vector", "FP32", [-1, 6]), ("reconstruction_error", "FP64", [-1]), ("percentile", "FP64", [-1])
    ]  # fmt: skip
    assert server.get_model_metadata("negative")["inputs"][0]["shape"] == [-1, -1, -1, 3], "of any size"


def test_a_bare_name_does_what_the_packages_kind_says(server: Any) -> None:
    assert server.get_model_metadata("small")["outputs"][0]["name"] == "denoised"
    assert server.get_model_metadata("signal")["outputs"][0]["name"] == "vector"


def test_statistics_count_what_was_asked_under_all_names_and_addresses(server: Any) -> None:
    def stats() -> dict[str, Any]:
        (entry,) = server.get_inference_statistics("signal.decode", "1")["model_stats"]
        return dict(entry)

    initial = stats()
    latents = tensor("latent", np.ones((5, 6), np.float32), "FP32")
    for _ in range(3):
        server.infer("signal.decode", [latents])
    with pytest.raises(InferenceServerException):
        server.infer("signal.decode", [tensor("latent", np.ones((5, 7), np.float32), "FP32")])
    final = stats()
    assert final["inference_count"] - initial["inference_count"] == 15
    assert final["execution_count"] - initial["execution_count"] == 3
    for counter, count in (("success", 3), ("fail", 1), ("compute_infer", 3), ("queue", 0)):
        assert final["inference_stats"][counter]["count"] - initial["inference_stats"][counter]["count"] == count, (
            counter
        )
    assert final["inference_stats"]["success"]["ns"] > initial["inference_stats"]["success"]["ns"]
    assert final["inference_stats"]["success"]["ns"] >= final["inference_stats"]["compute_infer"]["ns"] > 0
    assert final["last_inference"] > 1_700_000_000_000
    every = [(m["name"], m["version"]) for m in server.get_inference_statistics()["model_stats"]]
    assert ("small", "1") in every
    assert ("signal.decode", "1") in every
    assert [m["version"] for m in server.get_inference_statistics("small.encode")["model_stats"]] == ["1", "2"]


def test_the_index_holds_what_is_served_and_what_was_refused(server: Any) -> None:
    index = server.get_model_repository_index()
    ready = {(entry["name"], entry["version"]) for entry in index if entry["state"] == "READY"}
    assert {("small", "1"), ("small.denoise", "2"), ("signal.encode", "1"), ("negative", "1")} <= ready
    (broken,) = [entry for entry in index if entry["state"] != "READY"]
    assert (broken["name"], broken["version"], broken["state"]) == ("broken", "1", "UNAVAILABLE")
    assert "manifest.json" in broken["reason"]


def test_v1_is_counted_too(client: TestClient) -> None:
    def count() -> int:
        answer = client.get("/v2/models/small.encode/versions/1/stats")
        return StatisticsList.model_validate_json(answer.content).model_stats[0].inference_count

    initial = count()
    headers = {"Content-Type": "application/x-npy"}
    client.post("/v1/models/small/versions/1/encode", content=npy(DRAWINGS), headers=headers)
    assert count() == initial + 3


def test_addresses_that_are_not_there_are_told_in_the_protocols_words(client: TestClient) -> None:
    refused(client.get("/v2/models/nope"), 404, "there is no model 'nope'")
    refused(client.get("/v2/models/small.sing/stats"), 404, "small.encode")
    refused(client.get("/v2/models/small/versions/9/ready"), 404, "1, 2")
    refused(client.post("/v2/repository/models/small/load"), 404, "/v2/repository/models/small/load")
    refused(client.get("/v2/models/small/infer"), 405, "POST")
    refused(client.post("/v2/repository/index", content=b"[]"), 422, "ready")
    documented = client.get("/openapi.json").json()["paths"]["/v2/repository/index"]["post"]["responses"]
    assert set(documented) == {"200", "413", "422"}
    index = client.post("/v2/repository/index", json={"ready": True}).json()
    assert {entry["state"] for entry in index} == {"READY"}
    assert client.get("/v2/").json() == client.get("/v2").json()


def test_a_full_house_and_an_empty_one_are_told_in_the_protocols_words(models: Path, tmp_path: Path) -> None:
    with TestClient(create_app(Settings(models=models, max_requests=1))) as client:
        with client.app.services.admission.enter() as permit:  # type: ignore[attr-defined]
            permit.occupy()
            response = infer(client, inference_request(ONE_DRAWING))
        refused(response, 429, "1 requests are inside")
        assert response.headers["retry-after"] == "1"
        assert infer(client, inference_request(ONE_DRAWING)).status_code == 200
    with TestClient(create_app(Settings(models=tmp_path))) as client:
        refused(client.get("/v2/health/ready"), 503, "the models folder is empty")
        assert client.get("/v2/health/live").json() == {"live": True}
        assert client.post("/v2/repository/index").json() == []
