"""Routes of /v2, the Open Inference Protocol (KServe, Triton): health, metadata, index, statistics.

GET /v2/... -> find_model -> registry, statistics -> schemas        POST .../infer -> service.api.operations

A model of the protocol has one function, a package has several operations. So a package `cats-stacked` is several
models: `cats-stacked` is its kind's default operation, `cats-stacked.encode`, `cats-stacked.decode` and so on are the
others. A package's name has no dot. `sample` takes no tensor, and is for /v1.

Extensions: binary_tensor_data and statistics are complete. Of model_repository only the index exists, so it is not
listed: clients cannot load models.
"""

from collections.abc import Awaitable, Callable, Iterator
from typing import Annotated, Any

from fastapi import FastAPI, Path, Request
from pydantic import BaseModel, ValidationError

from service import __version__
from service.api.router import document_operation
from service.api.v1.body import receive_body
from service.api.v2.schemas import (
    Duration,
    IndexEntry,
    IndexRequest,
    InferenceRequest,
    InferenceResponse,
    InferenceStatistics,
    Live,
    ModelMetadata,
    ModelReady,
    ModelStatistics,
    ProtocolError,
    Ready,
    ServerMetadata,
    StatisticsList,
    TensorMetadata,
)
from service.api.v2.tensors import HEADER_LENGTH, Tensor, input_tensor, output_tensors
from service.codecs.formats import JSON, OCTET_STREAM
from service.errors import InvalidInput, UnknownModel
from service.inference.operations import OPERATIONS
from service.model.kinds import KINDS
from service.model.manifest import Manifest, Operation
from service.model.runtime import Model
from service.observability.statistics import Statistics
from service.repository.registry import Registry

EXTENSIONS = ["binary_tensor_data", "statistics"]
PLATFORM = "onnxruntime_onnx"  # as Triton names ONNX graphs

Name = Annotated[str, Path(description="a package's name, or NAME.OPERATION", examples=["cats-stacked.encode"])]
Version = Annotated[str, Path(description="one of its versions", examples=["1"])]
MAX_INDEX_BYTES = 1 << 10  # of a request for the index, whose longest is {"ready": false}
_TAG: Any = {"tags": ["open inference protocol"]}


def default_operation(manifest: Manifest) -> Operation:
    """The operation of a package's name without a suffix."""
    operation = KINDS[manifest.kind].default_operation
    return operation if operation in manifest.operations else manifest.operations[0]


def find_model(registry: Registry, name: str, version: str | None = None) -> tuple[Model, Operation]:
    """A model's name in the protocol -> the package's model and the operation; without a version the default one.

    Raises:
        UnknownModel, UnknownVersion: the sentence names the models or versions that exist (404).
    """
    package, dot, operation = name.partition(".")
    model = registry.get(package, version)
    if not dot:
        return model, default_operation(model.manifest)
    for candidate in _protocol_operations(model.manifest):
        if candidate == operation:
            return model, candidate
    names = ", ".join(_names(model))
    raise UnknownModel(f"there is no model {name!r}; version {model.manifest.version} of {package} is {names}")


def add_v2_health_routes(app: FastAPI, check_ready: Callable[[], Awaitable[object]]) -> None:
    """GET /v2/health/live, /v2/health/ready; `check_ready` raises NotReady (503)."""
    unready: dict[int | str, dict[str, Any]] = {503: {"description": "no model can be served", "model": ProtocolError}}

    @app.get("/v2/health/live", summary="The process answers", **_TAG)
    async def server_live() -> Live:
        return Live(live=True)

    @app.get("/v2/health/ready", summary="Models are open and can be asked", responses=unready, **_TAG)
    async def server_ready() -> Ready:
        await check_ready()
        return Ready(ready=True)


def add_v2_routes(app: FastAPI, registry: Registry, statistics: Statistics) -> None:
    """All other routes of the protocol; `infer` is for OpenAPI only."""
    not_found: dict[int | str, dict[str, Any]] = {
        404: {"description": "no such model or version", "model": ProtocolError}
    }
    model_route: Any = {"responses": not_found, **_TAG}

    @app.get("/v2", summary="The server, and the extensions that it speaks", **_TAG)
    async def server_metadata() -> ServerMetadata:
        return ServerMetadata(name="autoencoder-service", version=__version__, extensions=EXTENSIONS)

    @app.get("/v2/", include_in_schema=False)
    async def server_metadata_of_kserve() -> ServerMetadata:
        return await server_metadata()

    @app.get("/v2/models/stats", summary="What all models have done since the start", **_TAG)
    async def list_statistics() -> StatisticsList:
        return StatisticsList(
            model_stats=[_statistics(registry, statistics, name, model) for name, model in _models(registry)]
        )

    @app.get("/v2/models/{name}", summary="A model's inputs and outputs", **model_route)
    async def model_metadata(name: Name) -> ModelMetadata:
        return _metadata(registry, name)

    @app.get("/v2/models/{name}/versions/{version}", summary="Of one version", **model_route)
    async def version_metadata(name: Name, version: Version) -> ModelMetadata:
        return _metadata(registry, name, version)

    @app.get("/v2/models/{name}/ready", summary="A model can be asked", **model_route)
    async def model_ready(name: Name) -> ModelReady:
        find_model(registry, name)
        return ModelReady(name=name, ready=True)

    @app.get("/v2/models/{name}/versions/{version}/ready", summary="One version can be asked", **model_route)
    async def version_ready(name: Name, version: Version) -> ModelReady:
        find_model(registry, name, version)
        return ModelReady(name=name, ready=True)

    @app.get("/v2/models/{name}/stats", summary="What a model's versions have done since the start", **model_route)
    async def model_statistics(name: Name) -> StatisticsList:
        models = (find_model(registry, name, version)[0] for version in _versions(registry, name))
        return StatisticsList(model_stats=[_statistics(registry, statistics, name, model) for model in models])

    @app.get("/v2/models/{name}/versions/{version}/stats", summary="What one version has done", **model_route)
    async def version_statistics(name: Name, version: Version) -> StatisticsList:
        model, _ = find_model(registry, name, version)
        return StatisticsList(model_stats=[_statistics(registry, statistics, name, model)])

    @app.post(
        "/v2/repository/index",
        summary="All models, and what was refused",
        openapi_extra={"requestBody": {"content": _json_content(IndexRequest)}},
        responses={
            413: {"description": "a body of more than 1 KiB", "model": ProtocolError},
            422: {"description": "a body that is not one of these", "model": ProtocolError},
        },
        **_TAG,
    )
    async def index_repository(request: Request) -> list[IndexEntry]:
        body = await receive_body(request, request.headers.get("content-length"), MAX_INDEX_BYTES)
        return _index(registry, is_ready_only=_parse_ready(body))

    _add_infer_documentation(app)


def _add_infer_documentation(app: FastAPI) -> None:
    """The inference routes for OpenAPI; service.api.router handles their requests."""
    descriptions = {
        400: "no JSON, or lengths that disagree",
        404: "no such model or version",
        413: "body, pixels or batch over a limit",
        415: "a compressed body",
        422: "names, datatypes, shapes, values or parameters that the model does not take",
        429: "full; come again after Retry-After seconds",
        504: "not done within the deadline",
    }
    binary = {OCTET_STREAM: {"schema": {"type": "string", "format": "binary"}}}
    header = {
        "name": HEADER_LENGTH,
        "in": "header",
        "schema": {"type": "integer", "minimum": 1},
        "description": "bytes of the JSON, if tensors follow it as bytes",
    }

    def list_parameters(has_version: bool) -> list[dict[str, Any]]:
        names = ("name", "version") if has_version else ("name",)
        path = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
        return [*path, header]

    document_operation(
        app,
        "/v2/models",
        "infer",
        "infer",
        list_parameters,
        {"requestBody": {"required": True, "content": {**_json_content(InferenceRequest), **binary}}},
        summary="Tensors in, tensors out",
        response_model=InferenceResponse,
        responses={
            200: {"description": "the outputs", "content": binary},
            **{status: {"description": text, "model": ProtocolError} for status, text in descriptions.items()},
        },
        **_TAG,
    )


def _json_content(body: type[BaseModel]) -> dict[str, Any]:
    """A body's content with its schema, without references: FastAPI collects only those of its own parameters."""
    schema = body.model_json_schema()
    return {JSON: {"schema": _inline_references(schema, schema.pop("$defs", {}))}}


def _inline_references(schema: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inline_references(entry, definitions) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inline_references(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {key: _inline_references(value, definitions) for key, value in schema.items()}


def _names(model: Model) -> list[str]:
    """All names of one package in the protocol."""
    name = model.manifest.name
    return [name, *(f"{name}.{operation}" for operation in _protocol_operations(model.manifest))]


def _protocol_operations(manifest: Manifest) -> list[Operation]:
    """Those of a package that take a tensor: not `sample`."""
    return [operation for operation in manifest.operations if not OPERATIONS[operation].is_drawn]


def _versions(registry: Registry, name: str) -> list[str]:
    """Versions of the package that have the operation, ascending; raises UnknownModel (404) if none has."""
    package, _, operation = name.partition(".")
    versions = [str(version) for version in registry.versions(package)]
    matches = [
        version
        for version in versions
        if not operation or operation in _protocol_operations(registry.get(package, version).manifest)
    ]
    if not matches:
        find_model(registry, name)
    return matches


def _models(registry: Registry) -> Iterator[tuple[str, Model]]:
    """(name, model) of every name and version in the protocol."""
    for package in registry.names:
        for version in registry.versions(package):
            model = registry.get(package, str(version))
            for name in _names(model):
                yield name, model


def _metadata(registry: Registry, name: str, version: str | None = None) -> ModelMetadata:
    model, operation = find_model(registry, name, version)
    return ModelMetadata(
        name=name,
        versions=_versions(registry, name),
        platform=PLATFORM,
        inputs=[_tensor_metadata(input_tensor(model, operation))],
        outputs=[_tensor_metadata(tensor) for tensor in output_tensors(model, operation)],
    )


def _tensor_metadata(tensor: Tensor) -> TensorMetadata:
    return TensorMetadata(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)


def _parse_ready(body: bytes) -> bool:
    """The member `ready` of an index request; raises InvalidInput (422)."""
    try:
        return IndexRequest.model_validate_json(body or b"{}").ready
    except ValidationError as error:
        raise InvalidInput('the body must be empty or {"ready": true} or {"ready": false}') from error


def _index(registry: Registry, *, is_ready_only: bool) -> list[IndexEntry]:
    entries = [
        IndexEntry(name=name, version=str(model.manifest.version), state="READY", reason="")
        for name, model in _models(registry)
    ]
    if is_ready_only:
        return entries
    for rejected in registry.rejected_packages:
        name, _, version = rejected.key.partition("/")
        entries.append(IndexEntry(name=name, version=version, state="UNAVAILABLE", reason=rejected.reason))
    return entries


def _statistics(registry: Registry, statistics: Statistics, name: str, model: Model) -> ModelStatistics:
    version = str(model.manifest.version)
    _, operation = find_model(registry, name, version)
    counts = statistics.counts(model, operation)
    return ModelStatistics(
        name=name,
        version=version,
        last_inference=counts.last_request_ms,
        inference_count=counts.samples,
        execution_count=counts.runs,
        inference_stats=InferenceStatistics(
            success=Duration(count=counts.successes, ns=counts.success_ns),
            fail=Duration(count=counts.failures, ns=counts.failure_ns),
            compute_infer=Duration(count=counts.runs, ns=counts.run_ns),
        ),
    )
