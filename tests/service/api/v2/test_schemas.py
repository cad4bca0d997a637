"""Schemas of /v2 against the protocol's own OpenAPI document."""

from starlette.testclient import TestClient

from service.api.v2 import schemas

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
        is_request = name in ("InferenceRequest", "RequestInput", "RequestOutput")
        required = {key.rstrip("!") for key in theirs if key.endswith("!")}
        for key, kind in theirs.items():
            member = schema["properties"][key.rstrip("!")]
            assert kind in {member.get("type"), *(choice["type"] for choice in member.get("anyOf", []))}, (
                f"{name} {key}"
            )
        expected = {key for key in required if f"{name} {key}" not in BEHIND_JSON}
        if is_request:
            assert set(schema.get("required", [])) <= required, f"{name}: what they may leave out, so may ours"
        else:
            assert expected <= set(schema["required"]), f"{name}: what theirs always has, so has ours"
    body = document["paths"]["/v2/models/{name}/infer"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["inputs"]["items"]["required"] == ["name", "shape", "datatype"]
