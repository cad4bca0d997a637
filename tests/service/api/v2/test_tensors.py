"""Tensors of /v2 as JSON and as bytes, by NVIDIA's own client against a server process, and one by one."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from service.api.v2.schemas import InferenceResponse
from tests.service.api.v2.protocol import (
    DRAWINGS,
    HEADER_LENGTH,
    LATENTS,
    ONE_DRAWING,
    InferenceServerException,
    image,
    infer,
    inference_request,
    refused,
    tensor,
    triton,
)
from tests.service.http import npy


@pytest.mark.parametrize("into", [True, False], ids=["bytes in", "JSON in"])
@pytest.mark.parametrize("out", [True, False], ids=["bytes out", "JSON out"])
def test_tensors_go_in_and_out_as_bytes_and_as_json(server: Any, into: bool, out: bool) -> None:
    outputs = [triton.InferRequestedOutput("latent", binary_data=out)]
    result = server.infer("small.encode", image(binary=into), outputs=outputs, request_id="a word")
    assert (result.as_numpy("latent") == LATENTS).all()
    answer = result.get_response()
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("a word", "small.encode", "2")
    assert ("data" in answer["outputs"][0]) is not out


@pytest.mark.parametrize("binary", [True, False])
def test_latents_are_decoded_wherever_their_bytes_lie(server: Any, binary: bool) -> None:
    for length in range(4):  # so long is the JSON: numbers that begin between two multiples of four
        latents = tensor("latent", LATENTS, "FP32", binary=binary)
        images = server.infer("small.decode", [latents], model_version="1", request_id="x" * (1 + length)).as_numpy(
            "image"
        )
        assert (images.reshape(3, -1)[:, :32] == DRAWINGS.reshape(3, -1)[:, :32]).all()
        assert images.shape == (3, 28, 28, 1)


def test_only_what_is_asked_for_comes_and_in_that_order(server: Any) -> None:
    outputs = [triton.InferRequestedOutput("percentile"), triton.InferRequestedOutput("image", binary_data=False)]
    result = server.infer("small.reconstruct", image(), outputs=outputs)
    assert [output["name"] for output in result.get_response()["outputs"]] == ["percentile", "image"]
    everything = server.infer("small.reconstruct", image())
    assert [o["name"] for o in everything.get_response()["outputs"]] == ["image", "reconstruction_error", "percentile"]
    assert (everything.as_numpy("percentile") == result.as_numpy("percentile")).all()
    assert everything.as_numpy("reconstruction_error").dtype == np.float64


@pytest.mark.parametrize("shape", [(1, 9, 13, 3), (2, 700, 650, 3)], ids=["a small one", "two large ones, in tiles"])
def test_images_of_any_size_are_denoised(server: Any, shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    assert (server.infer("negative", image(images)).as_numpy("denoised") == 255 - images).all()
    half = server.infer("negative", image(images), parameters={"strength": 0.5}).as_numpy("denoised")
    assert abs(half.astype(float) - 127.5).max() <= 1


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
    with pytest.raises(InferenceServerException, match=r"not done after 0\.001 seconds") as raised:
        server.infer("negative", image(page), timeout=1000)
    assert raised.value.status() == "504"


@pytest.mark.parametrize("operation", ["encode", "reconstruct", "denoise"])
def test_what_comes_is_what_v1_answers(client: TestClient, operation: str) -> None:
    headers = {"Content-Type": "application/x-npy", "Accept": "application/json"}
    native = client.post(f"/v1/models/small/{operation}", content=npy(DRAWINGS), headers=headers).json()
    answer = infer(client, inference_request(), f"small.{operation}")
    assert answer.status_code == 200, answer.text
    parsed = InferenceResponse.model_validate_json(answer.content)
    for output in parsed.outputs:
        key = {"latent": "latents", "image": "outputs", "denoised": "outputs"}.get(output.name, output.name)
        assert output.data is not None
        assert output.shape == list(np.shape(native[key]))
        np.testing.assert_array_equal(np.reshape(output.data, output.shape), native[key])


def test_data_may_be_flat_and_images_fitted(client: TestClient) -> None:
    nested = inference_request()
    # MLServer's clients send content_type
    flat = {**inference_request(data=DRAWINGS.reshape(-1).tolist()), "parameters": {"content_type": "np"}}
    assert infer(client, nested).json() == infer(client, flat).json()
    large = np.full((1, 40, 60, 1), 51, np.uint8)
    refused(infer(client, inference_request(large)), 422, "[1, 40, 60, 1]", "the parameter fit")
    by_parameter = infer(client, {**inference_request(large), "parameters": {"fit": "cover"}})
    by_address = infer(client, inference_request(large), params={"fit": "cover"})
    assert by_parameter.json()["outputs"][0]["data"] == pytest.approx([0.2] * 32)
    assert by_address.json() == by_parameter.json()


@pytest.mark.parametrize(
    ("document", "status", "words"),
    [
        ([], 400, ("no JSON object",)),
        ({}, 422, ("0 inputs", "image UINT8 [-1, 28, 28, 1]")),
        ({**inference_request(ONE_DRAWING), "shout": 1}, 422, ("'shout'",)),
        ({**inference_request(ONE_DRAWING), "id": 7}, 422, ("id must be text",)),
        ({**inference_request(ONE_DRAWING), "parameters": []}, 422, ("parameters of the request",)),
        ({**inference_request(ONE_DRAWING), "parameters": {"strenght": 1}}, 422, ("'strenght'", "strength")),
        ({**inference_request(ONE_DRAWING), "parameters": {"binary_data_output": 1}}, 422, ("true or false",)),
        ({**inference_request(ONE_DRAWING), "parameters": {"fit": "squeeze"}}, 422, ("'contain'",)),
        ({**inference_request(ONE_DRAWING), "parameters": {"timeout": 1.5}}, 422, ("whole microseconds",)),
        ({**inference_request(ONE_DRAWING), "outputs": {}}, 422, ("outputs must be a list",)),
        ({**inference_request(ONE_DRAWING), "outputs": [{"name": ["latent"]}]}, 422, ("it has latent",)),
        ({**inference_request(ONE_DRAWING), "outputs": [{"name": "latent"}] * 2}, 422, ("twice",)),
        ({"inputs": ["image"]}, 422, ("inputs must be a list of objects",)),
        (inference_request(ONE_DRAWING, shape=[1, 784.0]), 422, ("whole numbers",)),
        (inference_request(ONE_DRAWING, shape=[-1, 28, 28, 1]), 422, ("whole numbers",)),
        (inference_request(ONE_DRAWING, shape=[0, 28, 28, 1], data=[]), 422, ("is empty",)),
        (inference_request(ONE_DRAWING, shape=[2, 28, 28, 1]), 422, ("[2, 28, 28, 1]", "1568 numbers")),
        (inference_request(ONE_DRAWING, data=[1, [2]]), 422, ("a list where numbers",)),
        (inference_request(ONE_DRAWING, data=["1"] * 784), 422, ("text where numbers",)),
        (inference_request(ONE_DRAWING, data=[True] * 784), 422, ("true or false",)),
        (inference_request(ONE_DRAWING, data=[256] * 784), 422, ("256", "0 to 255")),
        (inference_request(ONE_DRAWING, data=[0.5] * 784), 422, ("0.5", "0 to 255")),
        (inference_request(ONE_DRAWING, data=None), 422, ("has no data",)),
        (inference_request(ONE_DRAWING, parameters={"shared_memory_region": "a"}), 422, ("'shared_memory_region'",)),
        (inference_request(ONE_DRAWING, parameters={"binary_data_size": 784}), 422, ("data and binary_data_size",)),
        (inference_request(np.zeros((201, 28, 28, 1), np.uint8)), 413, ("201 samples", "200")),
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
    document = inference_request(ONE_DRAWING, parameters={"binary_data_size": size})
    del document["inputs"][0]["data"]
    head = json.dumps(document).encode()
    headers = {} if length is None else {HEADER_LENGTH: str(len(head)) if length == "right" else length}
    refused(client.post("/v2/models/small/infer", content=head + bytes(tail), headers=headers), 400, words)


def test_numbers_that_are_not_finite_are_refused(client: TestClient) -> None:
    document = {
        "inputs": [{"name": "latent", "shape": [1, 32], "datatype": "FP32", "parameters": {"binary_data_size": 128}}]
    }
    head = json.dumps(document).encode()
    tail = np.full(32, math.nan, np.float32).tobytes()
    headers = {HEADER_LENGTH: str(len(head))}
    refused(client.post("/v2/models/small.decode/infer", content=head + tail, headers=headers), 422, "NaN")


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
    response = infer(client, {**inference_request(ONE_DRAWING, **fields), **changes})
    assert response.status_code in (200, 400, 413, 422), response.text
    if response.status_code != 200:
        refused(response, response.status_code)
