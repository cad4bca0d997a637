"""The Open Inference Protocol v2: driven by NVIDIA's own client against a server process, and route by route.

tritonclient (BSD-3-Clause) is what people have who come from Triton; it knows nothing of this service.
"""

import json
import math
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from service.api.v2 import schemas
from service.api.v2.schemas import InferenceResponse, StatisticsList
from service.app import create_app
from service.settings import Settings
from tests.service import packages as doubles
from tests.service.http import npy

with warnings.catch_warnings():  # gevent: "patching more than once", deprecations of its own
    warnings.simplefilter("ignore")
    import tritonclient.http as triton
    from tritonclient.utils import InferenceServerException

DRAWINGS = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), dtype=np.uint8)
LATENTS = DRAWINGS.reshape(3, -1)[:, :32] / np.float32(255)
LENGTH = "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def address(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server process with the doubles, and with one package that is broken."""
    folder = tmp_path_factory.mktemp("served")
    doubles.write_all(folder)
    (folder / "broken" / "1").mkdir(parents=True)
    command = [sys.executable, "-m", "service", "serve", "--models", str(folder), "--port", "0"]
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("AUTOENCODER_")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=quiet) as process:
        if process.stdout is None:
            raise AssertionError("a pipe was asked for")
        try:
            found = None
            while found is None:
                line = process.stdout.readline()
                assert line, "the server ended before it was ready"
                found = re.search(r"http://localhost:(\d+)", line)
            yield f"127.0.0.1:{found[1]}"
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def server(address: str) -> Iterator[Any]:
    with triton.InferenceServerClient(address) as client:
        yield client


def tensor(name: str, array: np.ndarray, datatype: str, *, binary: bool = True) -> Any:
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def image(array: np.ndarray = DRAWINGS, *, binary: bool = True) -> list[Any]:
    return [tensor("image", array, "UINT8", binary=binary)]


def question(array: np.ndarray = DRAWINGS, **changes: Any) -> dict[str, Any]:
    sent = {"name": "image", "shape": list(array.shape), "datatype": "UINT8", "data": array.tolist()}
    return {"inputs": [{**sent, **changes}]}


def infer(client: TestClient, document: Any, model: str = "small.encode", **options: Any) -> Any:
    return client.post(f"/v2/models/{model}/infer", content=json.dumps(document), **options)


def refused(response: Any, status: int, *words: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    document = response.json()
    assert list(document) == ["error"]
    for word in words:
        assert word in document["error"], document["error"]


# --- NVIDIA's client -------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("into", [True, False], ids=["bytes in", "JSON in"])
@pytest.mark.parametrize("out", [True, False], ids=["bytes out", "JSON out"])
def test_tensors_go_in_and_out_as_bytes_and_as_json(server: Any, into: bool, out: bool) -> None:
    wanted = [triton.InferRequestedOutput("latent", binary_data=out)]
    result = server.infer("small.encode", image(binary=into), outputs=wanted, request_id="a word")
    assert (result.as_numpy("latent") == LATENTS).all()
    answer = result.get_response()
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("a word", "small.encode", "2")
    assert ("data" in answer["outputs"][0]) is not out


@pytest.mark.parametrize("binary", [True, False])
def test_latents_are_decoded_wherever_their_bytes_lie(server: Any, binary: bool) -> None:
    for length in range(4):  # so long is the JSON: numbers that begin between two multiples of four
        given = tensor("latent", LATENTS, "FP32", binary=binary)
        drawn = server.infer("small.decode", [given], model_version="1", request_id="x" * (1 + length)).as_numpy(
            "image"
        )
        assert (drawn.reshape(3, -1)[:, :32] == DRAWINGS.reshape(3, -1)[:, :32]).all()
        assert drawn.shape == (3, 28, 28, 1)


def test_only_what_is_asked_for_comes_and_in_that_order(server: Any) -> None:
    wanted = [triton.InferRequestedOutput("percentile"), triton.InferRequestedOutput("image", binary_data=False)]
    result = server.infer("small.reconstruct", image(), outputs=wanted)
    assert [output["name"] for output in result.get_response()["outputs"]] == ["percentile", "image"]
    everything = server.infer("small.reconstruct", image())
    assert [o["name"] for o in everything.get_response()["outputs"]] == ["image", "reconstruction_error", "percentile"]
    assert (everything.as_numpy("percentile") == result.as_numpy("percentile")).all()
    assert everything.as_numpy("reconstruction_error").dtype == np.float64


@pytest.mark.parametrize("shape", [(1, 9, 13, 3), (2, 700, 650, 3)], ids=["a small one", "two large ones, in tiles"])
def test_images_of_any_size_are_denoised(server: Any, shape: tuple[int, ...]) -> None:
    given = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    assert (server.infer("negative", image(given)).as_numpy("denoised") == 255 - given).all()
    half = server.infer("negative", image(given), parameters={"strength": 0.5}).as_numpy("denoised")
    assert abs(half.astype(float) - 127.5).max() <= 1


def test_statistics_count_what_was_asked_under_all_names_and_addresses(server: Any) -> None:
    def stats() -> dict[str, Any]:
        (found,) = server.get_inference_statistics("signal.decode", "1")["model_stats"]
        return dict(found)

    before = stats()
    given = tensor("latent", np.ones((5, 6), np.float32), "FP32")
    for _ in range(3):
        server.infer("signal.decode", [given])
    with pytest.raises(InferenceServerException):
        server.infer("signal.decode", [tensor("latent", np.ones((5, 7), np.float32), "FP32")])
    after = stats()
    assert after["inference_count"] - before["inference_count"] == 15
    assert after["execution_count"] - before["execution_count"] == 3
    for what, count in (("success", 3), ("fail", 1), ("compute_infer", 3), ("queue", 0)):
        assert after["inference_stats"][what]["count"] - before["inference_stats"][what]["count"] == count, what
    assert after["inference_stats"]["success"]["ns"] > before["inference_stats"]["success"]["ns"]
    assert after["inference_stats"]["success"]["ns"] >= after["inference_stats"]["compute_infer"]["ns"] > 0
    assert after["last_inference"] > 1_700_000_000_000
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


@pytest.mark.parametrize(
    ("model", "inputs", "options", "status", "words"),
    [
        ("nope", image(), {}, "404", "there is no model 'nope'"),
        ("signal.denoise", image(), {}, "404", "signal.reconstruct"),
        ("small.encode", image(DRAWINGS[0]), {}, "422", r"has shape \[28, 28, 1\]; small.encode takes image UINT8"),
        ("small.encode", [tensor("image", LATENTS, "FP32")], {}, "422", "has datatype 'FP32'"),
        ("small.encode", [tensor("picture", DRAWINGS, "UINT8")], {}, "422", "'picture'; small.encode takes image"),
        ("small.encode", image() + image(), {}, "422", "has 2 inputs"),
        ("small.encode", image(), {"outputs": [triton.InferRequestedOutput("image")]}, "422", "it has latent"),
        (
            "small.encode", image(), {"outputs": [triton.InferRequestedOutput("latent", class_count=3)]},
            "422", "parameter 'classification'",
        ),
        ("small.encode", image(), {"sequence_id": 4}, "422", "parameter 'sequence_id'"),
        ("small.encode", image(), {"request_compression_algorithm": "gzip"}, "415", "Content-Encoding 'gzip'"),
        ("small.encode", image(), {"parameters": {"strength": 1}}, "422", "strength is for denoise"),
        ("small.encode", image(), {"timeout": -1}, "422", "timeout is -1"),
    ],
)  # fmt: skip
def test_the_client_is_told_what_is_wrong_in_one_sentence(
    server: Any, model: str, inputs: list[Any], options: dict[str, Any], status: str, words: str
) -> None:
    with pytest.raises(InferenceServerException, match=words) as wrong:
        server.infer(model, inputs, **options)
    assert wrong.value.status() == status
    assert "\n" not in wrong.value.message()


def test_a_timeout_is_a_deadline(server: Any) -> None:
    assert server.infer("small.encode", image(), timeout=20_000_000).as_numpy("latent").shape == (3, 32)
    assert server.infer("small.encode", image(), timeout=0).as_numpy("latent").shape == (3, 32)
    page = np.zeros((1, 3000, 3000, 3), np.uint8)
    with pytest.raises(InferenceServerException, match=r"not done after 0\.001 seconds") as late:
        server.infer("negative", image(page), timeout=1000)
    assert late.value.status() == "504"


# --- beside /v1 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["encode", "reconstruct", "denoise"])
def test_what_comes_is_what_v1_answers(client: TestClient, operation: str) -> None:
    headers = {"Content-Type": "application/x-npy", "Accept": "application/json"}
    native = client.post(f"/v1/models/small/{operation}", content=npy(DRAWINGS), headers=headers).json()
    answer = infer(client, question(), f"small.{operation}")
    assert answer.status_code == 200, answer.text
    parsed = InferenceResponse.model_validate_json(answer.content)
    for output in parsed.outputs:
        key = {"latent": "latents", "image": "outputs", "denoised": "outputs"}.get(output.name, output.name)
        assert output.data is not None
        assert output.shape == list(np.shape(native[key]))
        np.testing.assert_array_equal(np.reshape(output.data, output.shape), native[key])


def test_data_may_be_flat_and_images_fitted(client: TestClient) -> None:
    nested = question()
    flat = {**question(data=DRAWINGS.reshape(-1).tolist()), "parameters": {"content_type": "np"}}  # as MLServer's say
    assert infer(client, nested).json() == infer(client, flat).json()
    large = np.full((1, 40, 60, 1), 51, np.uint8)
    refused(infer(client, question(large)), 422, "[1, 40, 60, 1]", "the parameter fit")
    by_parameter = infer(client, {**question(large), "parameters": {"fit": "cover"}})
    by_address = infer(client, question(large), params={"fit": "cover"})
    assert by_parameter.json()["outputs"][0]["data"] == pytest.approx([0.2] * 32)
    assert by_address.json() == by_parameter.json()


def test_v1_is_counted_too(client: TestClient) -> None:
    def count() -> int:
        answer = client.get("/v2/models/small.encode/versions/1/stats")
        return StatisticsList.model_validate_json(answer.content).model_stats[0].inference_count

    before = count()
    headers = {"Content-Type": "application/x-npy"}
    client.post("/v1/models/small/versions/1/encode", content=npy(DRAWINGS), headers=headers)
    assert count() == before + 3


# --- refusals --------------------------------------------------------------------------------------------

ONE = DRAWINGS[:1]


@pytest.mark.parametrize(
    ("document", "status", "words"),
    [
        ([], 400, ("no JSON object",)),
        ({}, 422, ("0 inputs", "image UINT8 [-1, 28, 28, 1]")),
        ({**question(ONE), "shout": 1}, 422, ("'shout'",)),
        ({**question(ONE), "id": 7}, 422, ("id must be text",)),
        ({**question(ONE), "parameters": []}, 422, ("parameters of the request",)),
        ({**question(ONE), "parameters": {"strenght": 1}}, 422, ("'strenght'", "strength")),
        ({**question(ONE), "parameters": {"binary_data_output": 1}}, 422, ("true or false",)),
        ({**question(ONE), "parameters": {"fit": "squeeze"}}, 422, ("'contain'",)),
        ({**question(ONE), "parameters": {"timeout": 1.5}}, 422, ("whole microseconds",)),
        ({**question(ONE), "outputs": {}}, 422, ("outputs must be a list",)),
        ({**question(ONE), "outputs": [{"name": ["latent"]}]}, 422, ("it has latent",)),
        ({**question(ONE), "outputs": [{"name": "latent"}] * 2}, 422, ("twice",)),
        ({"inputs": ["image"]}, 422, ("inputs must be a list of objects",)),
        (question(ONE, shape=[1, 784.0]), 422, ("whole numbers",)),
        (question(ONE, shape=[-1, 28, 28, 1]), 422, ("whole numbers",)),
        (question(ONE, shape=[0, 28, 28, 1], data=[]), 422, ("is empty",)),
        (question(ONE, shape=[2, 28, 28, 1]), 422, ("[2, 28, 28, 1]", "1568 numbers")),
        (question(ONE, data=[1, [2]]), 422, ("a list where numbers",)),
        (question(ONE, data=["1"] * 784), 422, ("text where numbers",)),
        (question(ONE, data=[True] * 784), 422, ("true or false",)),
        (question(ONE, data=[256] * 784), 422, ("256", "0 to 255")),
        (question(ONE, data=[0.5] * 784), 422, ("0.5", "0 to 255")),
        (question(ONE, data=None), 422, ("has no data",)),
        (question(ONE, parameters={"shared_memory_region": "a"}), 422, ("'shared_memory_region'",)),
        (question(ONE, parameters={"binary_data_size": 784}), 422, ("data and binary_data_size",)),
        (question(np.zeros((201, 28, 28, 1), np.uint8)), 413, ("201 samples", "200")),
    ],
)
def test_every_refusal_is_a_sentence(client: TestClient, document: Any, status: int, words: tuple[str, ...]) -> None:
    refused(infer(client, document), status, *words)


@pytest.mark.parametrize(
    ("length", "size", "tail", "words"),
    [
        ("nine", 784, 784, "'nine'"),
        ("0", 784, 784, "length of the JSON"),
        ("99999", 784, 784, "99999"),
        ("5", 784, 784, "not JSON"),
        (None, 784, 784, "not JSON"),
        ("right", 784, 783, "783 bytes follow"),
        ("right", 784, 785, "785 bytes follow"),
        ("right", 783, 783, "is 784 bytes"),
        ("right", "784", 784, "is 784 bytes"),
        ("right", None, 3, "no input says binary_data_size"),
    ],
)
def test_lengths_must_agree(client: TestClient, length: str | None, size: Any, tail: int, words: str) -> None:
    document = question(ONE, parameters={"binary_data_size": size})
    del document["inputs"][0]["data"]
    head = json.dumps(document).encode()
    headers = {} if length is None else {LENGTH: str(len(head)) if length == "right" else length}
    refused(client.post("/v2/models/small/infer", content=head + bytes(tail), headers=headers), 400, words)


def test_numbers_that_are_not_finite_are_refused(client: TestClient) -> None:
    document = {
        "inputs": [{"name": "latent", "shape": [1, 32], "datatype": "FP32", "parameters": {"binary_data_size": 128}}]
    }
    head = json.dumps(document).encode()
    tail = np.full(32, math.nan, np.float32).tobytes()
    headers = {LENGTH: str(len(head))}
    refused(client.post("/v2/models/small.decode/infer", content=head + tail, headers=headers), 422, "NaN")


def test_addresses_that_are_not_there_are_told_in_the_protocols_words(client: TestClient) -> None:
    refused(client.get("/v2/models/nope"), 404, "there is no model 'nope'")
    refused(client.get("/v2/models/small.sing/stats"), 404, "small.encode")
    refused(client.get("/v2/models/small/versions/9/ready"), 404, "1, 2")
    refused(client.post("/v2/repository/models/small/load"), 404, "/v2/repository/models/small/load")
    refused(client.get("/v2/models/small/infer"), 405, "POST")
    refused(client.post("/v2/repository/index", content=b"[]"), 422, "ready")
    documented = client.get("/openapi.json").json()["paths"]["/v2/repository/index"]["post"]["responses"]
    assert set(documented) == {"200", "422"}
    only = client.post("/v2/repository/index", json={"ready": True}).json()
    assert {entry["state"] for entry in only} == {"READY"}
    assert client.get("/v2/").json() == client.get("/v2").json()


def test_a_full_house_and_an_empty_one_are_told_in_the_protocols_words(models: Path, tmp_path: Path) -> None:
    with TestClient(create_app(Settings(models=models, max_requests=1))) as client:
        with client.app.state.admission.enter() as permit:  # type: ignore[attr-defined]
            permit.occupy()
            response = infer(client, question(ONE))
        refused(response, 429, "1 requests are inside")
        assert response.headers["retry-after"] == "1"
        assert infer(client, question(ONE)).status_code == 200
    with TestClient(create_app(Settings(models=tmp_path))) as client:
        refused(client.get("/v2/health/ready"), 503, "the models folder is empty")
        assert client.get("/v2/health/live").json() == {"live": True}
        assert client.post("/v2/repository/index").json() == []


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = st.sampled_from(["id", "parameters", "inputs", "outputs"])
FIELDS = st.sampled_from(["name", "shape", "datatype", "data", "parameters"])


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.dictionaries(MEMBERS, JSON_VALUES, max_size=2), fields=st.dictionaries(FIELDS, JSON_VALUES, max_size=2)
)
def test_no_json_is_a_server_error(client: TestClient, changes: dict[str, Any], fields: dict[str, Any]) -> None:
    response = infer(client, {**question(ONE, **fields), **changes})
    assert response.status_code in (200, 400, 413, 422), response.text
    if response.status_code != 200:
        refused(response, response.status_code)


# --- the protocol's own OpenAPI --------------------------------------------------------------------------

# Facts of specification/protocol/open_inference_rest.yaml of github.com/kserve/open-inference-protocol (Apache-2.0,
# Copyright 2023 The KServe Authors), which are needed here: its paths, and its schemas' properties, ! for required.
KSERVE_PATHS = {
    "/v2/health/live": "get", "/v2/health/ready": "get", "/v2/": "get",
    "/v2/models/${MODEL_NAME}/versions/${MODEL_VERSION}": "get",
    "/v2/models/${MODEL_NAME}/versions/${MODEL_VERSION}/ready": "get",
    "/v2/models/${MODEL_NAME}/versions/${MODEL_VERSION}/infer": "post",
}  # fmt: skip
KSERVE_SCHEMAS = {
    "ServerMetadata": "name! string, version! string, extensions! array",
    "ModelMetadata": "name! string, versions array, platform! string, inputs array, outputs array",
    "TensorMetadata": "name! string, datatype! string, shape! array",
    "InferenceRequest": "id string, parameters object, inputs! array, outputs array",
    "RequestInput": "name! string, shape! array, datatype! string, parameters object, data! array",
    "RequestOutput": "name! string, parameters object",
    "InferenceResponse": "model_name! string, model_version string, id string, outputs! array",
    "ResponseOutput": "name! string, shape! array, datatype! string, parameters object, data! array",
    "ProtocolError": "error string",
}
BEHIND_JSON = ("RequestInput data", "ResponseOutput data")  # the binary extension has these tensors behind the JSON


def test_kserves_openapi_and_ours_agree(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    for path, method in KSERVE_PATHS.items():
        ours = path.replace("${MODEL_NAME}", "{name}").replace("${MODEL_VERSION}", "{version}").rstrip("/")
        assert method in document["paths"][ours], path
        assert "200" in document["paths"][ours][method]["responses"], path
    for name, properties in KSERVE_SCHEMAS.items():
        schema = getattr(schemas, name).model_json_schema()
        if name in document["components"]["schemas"]:
            assert document["components"]["schemas"][name]["properties"].keys() == schema["properties"].keys()
        theirs = dict(entry.split(" ") for entry in properties.split(", "))
        asked = name in ("InferenceRequest", "RequestInput", "RequestOutput")
        required = {key.rstrip("!") for key in theirs if key.endswith("!")}
        for key, kind in theirs.items():
            of = schema["properties"][key.rstrip("!")]
            assert kind in {of.get("type"), *(choice["type"] for choice in of.get("anyOf", []))}, f"{name} {key}"
        expected = {key for key in required if f"{name} {key}" not in BEHIND_JSON}
        if asked:
            assert set(schema.get("required", [])) <= required, f"{name}: what they may leave out, so may ours"
        else:
            assert expected <= set(schema["required"]), f"{name}: what theirs always has, so has ours"
    body = document["paths"]["/v2/models/{name}/infer"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["inputs"]["items"]["required"] == ["name", "shape", "datatype"]
