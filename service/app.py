"""Composition root: settings -> registry, admission, scheduler, inference -> routes. The only file that knows all.

bytes -> admission -> WireFormat.parse -> inference (pictures, pages, scheduler, model) -> WireFormat.serialize -> bytes
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Collection
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from time import perf_counter
from typing import Annotated, Any

from fastapi import FastAPI, Path, Request, Response
from fastapi_offline import FastAPIOffline

from service import __version__
from service.api import openapi
from service.api.auth import ApiKeys, KeysError
from service.api.error_handlers import add_error_handlers
from service.api.middleware import RequestMiddleware
from service.api.model_files import add_file_routes
from service.api.openapi import customize_openapi
from service.api.query import parse_deadline, parse_query
from service.api.router import METRICS, DocumentationRoute, OperationRouter, schema_only
from service.api.schemas import Answer, ModelFacts, ModelList, ModelSummary, PortFacts, Problem, RefusedPackage, Status
from service.api.v1 import ndjson, responses
from service.api.v1.body import form_files, receive_body
from service.api.v1.format import V1Format
from service.api.v2.routes import add_v2_health_routes, add_v2_routes, find_model
from service.api.v2.tensors import V2Format
from service.api.wire_format import WireFormat
from service.errors import NotReady, UnknownOperation
from service.inference import cost
from service.inference.admission import Admission
from service.inference.documents import Documents
from service.inference.engine import Inference
from service.inference.inputs import Preprocessor
from service.inference.operations import OPERATIONS
from service.inference.options import Options
from service.inference.scheduler import Scheduler
from service.model.manifest import Operation
from service.model.runtime import Model
from service.observability.metrics import Exposition, Gauges, Metrics, ServedModel
from service.observability.request_record import request_record
from service.observability.statistics import Statistics
from service.observability.tracing import Tracing, configure_tracing
from service.repository.loader import PackageLoader
from service.repository.registry import Registry
from service.repository.store import FolderStore
from service.repository.verifier import Verifier
from service.repository.watcher import Watcher
from service.server.cancellation import Deadline, cancel_on_disconnect
from service.settings import MEGAPIXEL, Settings, SettingsError
from service.web.routes import add_page_routes

ABOUT = """Autoencoders over HTTP: `encode`, `decode`, `reconstruct`, `denoise`.

Send an image (raw body or form field `image`), JSON or `.npy`; the answer comes in the form the question came in, or
in the one that `Accept` names. Latents come as JSON. Denoisers without a size of their own take pictures of any size:
16 bits, alpha, colour, profile, text and the pages of a TIFF stay; a PDF becomes a PDF of cleaned pages. Every
refusal is a problem document (RFC 9457)."""

UNWATCHED_BYTES = 1 << 14  # of a payload: its answer is ready before its caller has the time to leave

Name = Annotated[str, Path(description="a model of /v1/models", examples=["cats-stacked"])]
Version = Annotated[str, Path(description="a version of that model", examples=["1"])]


def create_app(
    settings: Settings,
    tracing: Tracing | None = None,
    *,
    trusted: bool = False,
    only: Collection[str] | None = None,
) -> RequestMiddleware:
    """The application, with the models under settings.models opened: who can reach it finds it ready.

    Args:
        tracing: takes the spans, instead of what settings.tracing starts.
        trusted: packages are opened without being tried in a process of their own first, which takes a second.
        only: packages to load, "<name>/<version>", None for all.
    Raises:
        ProviderMissing: settings.require_provider, and a model does not run on settings.provider.
        SettingsError: settings.keys is no file of keys, or settings.tracing without its extra.
    """
    try:
        keys = ApiKeys(settings.keys) if settings.keys is not None else None
    except KeysError as bad:
        raise SettingsError(str(bad)) from bad
    if tracing is None and settings.tracing:
        tracing = configure_tracing()
    metrics = Metrics()
    store = FolderStore(settings.models)
    snapshot = store.snapshot()
    verifier = Verifier(settings.verify_memory, settings.verify_seconds)
    loader = PackageLoader(store, settings.provider, settings.require_provider, settings.precision, settings.workers)
    try:
        registry = replace(loader, verifier=None if trusted else verifier).load_all(only)
    finally:
        verifier.close()
    loader = replace(loader, verifier=verifier, warm_up_side=settings.tile)
    admission = Admission(settings.max_requests, settings.max_inside_pixels, settings.max_inside_bytes)
    statistics = Statistics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        scheduler = Scheduler(settings.workers)
        app.state.scheduler = scheduler
        app.state.preprocessor = Preprocessor(scheduler, settings.max_pixels, settings.max_batch, settings.max_side)
        inference = Inference(scheduler, settings.tile, metrics.record_run, statistics)
        app.state.inference = inference
        app.state.documents = Documents(scheduler, inference, settings)
        watcher = Watcher(
            registry,
            loader,
            snapshot,
            settings.watch,
            lambda: inference.drop_unused_batchers(registry.models),
        )
        async with _running(watcher, settings.watch > 0):
            yield
        verifier.close()
        scheduler.close()
        if tracing is not None:
            tracing.close()

    app = (FastAPIOffline if settings.docs else partial(FastAPI, docs_url=None, openapi_url=None))(
        title="Autoencoder service",
        version=__version__,
        description=ABOUT,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.registry, app.state.admission, app.state.settings = registry, admission, settings
    app.state.statistics = statistics
    app.state.stopping = False
    app.state.metrics = metrics
    add_error_handlers(app)
    customize_openapi(app, settings)
    for operation in OPERATIONS:
        _add_operation(app, operation)
    _add_health(app, registry)
    if settings.metrics:
        _add_metrics(app, metrics)
    _add_models(app, registry)
    add_file_routes(app, store)
    if settings.page:
        add_page_routes(app)
    _add_unknown_operation(app)
    add_v2_routes(app, registry, statistics)
    logging.getLogger("service.app").info("%d models are open", len(registry.names))
    return RequestMiddleware(OperationRouter(app, _answer, _infer), settings, metrics, keys, tracing)


@asynccontextmanager
async def _running(watcher: Watcher, wanted: bool) -> AsyncIterator[None]:
    task = asyncio.create_task(watcher.run()) if wanted else None
    yield
    if task is not None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _add_health(app: FastAPI, registry: Registry) -> None:
    @app.get("/livez", tags=["health"], summary="The process answers")
    async def livez() -> Status:
        return Status(status="alive")

    refused: dict[int | str, dict[str, Any]] = {
        503: {"description": "no model can be served, or stopping", "model": Problem}
    }

    @app.get("/readyz", tags=["health"], summary="Models are open and can be asked", responses=refused)
    async def readyz() -> Status:
        if app.state.stopping:
            raise NotReady("the service is stopping; send new requests elsewhere")
        if not registry.names:
            reasons = "; ".join(rejected.reason for rejected in registry.rejected_packages[:3])
            raise NotReady(f"no model can be served: {reasons or 'the models folder is empty'}")
        return Status(status="ready")

    add_v2_health_routes(app, readyz)


def _add_metrics(app: FastAPI, metrics: Metrics) -> None:
    def read_gauges() -> Gauges:
        registry: Registry = app.state.registry
        admission: Admission = app.state.admission
        return Gauges(
            items_waiting=app.state.scheduler.queued_items,
            requests_inside=admission.requests,
            pixels_inside=admission.pixels,
            packages_refused=len(registry.rejected_packages),
            served_models=[
                ServedModel(name, str(version), model.provider, model.precision)
                for name in registry.names
                for version in registry.versions(name)
                for model in (registry.get(name, str(version)),)
            ],
        )

    exposition = Exposition(metrics, read_gauges)
    content: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}

    @app.get(METRICS, tags=["health"], summary="Prometheus metrics", responses=content, response_class=Response)
    async def prometheus(request: Request) -> Response:
        body, content_type = exposition.render(request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": content_type})


def _add_models(app: FastAPI, registry: Registry) -> None:
    unknown: dict[int | str, dict[str, Any]] = {404: {"description": "no such model or version", "model": Problem}}

    @app.get("/v1/models", tags=["models"], summary="All models, and what was refused")
    async def models() -> ModelList:
        return ModelList(
            models=[_summary(registry, registry.get(name)) for name in registry.names],
            refused=[RefusedPackage(folder=p.key, reason=p.reason) for p in registry.rejected_packages],
        )

    @app.get("/v1/models/{name}", tags=["models"], summary="The card's facts", responses=unknown)
    async def model(name: Name) -> ModelFacts:
        return _facts(registry, registry.get(name))

    @app.get("/v1/models/{name}/versions/{version}", tags=["models"], summary="Of one version", responses=unknown)
    async def version(name: Name, version: Version) -> ModelFacts:
        return _facts(registry, registry.get(name, version))


def _add_operation(app: FastAPI, operation: Operation) -> None:
    """What OpenAPI says of it; service.api.router answers it."""
    for path, identifier in (
        (f"/v1/models/{{name}}/{operation}", operation),
        (f"/v1/models/{{name}}/versions/{{version}}/{operation}", f"{operation}_version"),
    ):
        app.router.routes.append(
            DocumentationRoute(
                path,
                schema_only,
                methods=["POST"],
                tags=["operations"],
                summary=OPERATIONS[operation].summary,
                description=f"Try it with `{OPERATIONS[operation].example_model}`.",
                operation_id=identifier,
                response_model=Answer,
                responses=openapi.responses(operation),
                openapi_extra={
                    "parameters": openapi.parameters(operation, has_version="versions" in path),
                    "requestBody": openapi.request_body(operation),
                },
            )
        )


def _add_unknown_operation(app: FastAPI) -> None:
    @app.post("/v1/models/{name}/{operation}", include_in_schema=False)
    @app.post("/v1/models/{name}/versions/{version}/{operation}", include_in_schema=False)
    async def unknown(operation: str) -> Response:
        raise UnknownOperation(
            f"there is no operation {operation[:100]!r}; there are {', '.join(OPERATIONS)}", operations=list(OPERATIONS)
        )


async def _answer(request: Request, name: str, version: str | None, operation: Operation) -> Response:
    state, headers = request.app.state, _headers(request)
    settings: Settings = state.settings
    chosen = parse_query(request.scope["query_string"], operation)
    model: Model = state.registry.get(name, version)
    seen = request_record(request.scope)
    seen.model, seen.version = model.manifest.name, str(model.manifest.version)
    model.input_port(operation)
    asked = parse_deadline(headers.get(b"request-deadline"), settings.max_deadline)
    content_type, accept = headers.get(b"content-type"), headers.get(b"accept")
    if operation == "encode" and ndjson.accepts_ndjson(content_type, accept):
        return await _lines(request, headers, model, chosen, asked)
    wire_format = V1Format(model, operation, content_type, accept, chosen, asked, settings.max_batch)
    return await _visit(request, headers, model, operation, wire_format)


async def _lines(
    request: Request, headers: dict[bytes, str], model: Model, chosen: Options, asked: float | None
) -> Response:
    """As `_visit`, up to the body; the answer is made while it is sent, and admission leaves after it."""
    state, seen = request.app.state, request_record(request.scope)
    settings: Settings = state.settings
    with ExitStack() as held:
        counted = held.enter_context(state.statistics.time_request(model, "encode"))
        permit = held.enter_context(state.admission.enter())
        begun = perf_counter()
        body = await receive_body(
            request, headers.get(b"content-length"), settings.max_body_bytes, permit.reserve_bytes
        )
        seen.bytes_in = len(body)
        seen.stages.append(("receive", begun, perf_counter()))
        permit.occupy()
        read = partial(form_files, content_type=headers.get(b"content-type", ""), max_parts=settings.max_batch)
        files = await state.scheduler.call(read, body, len(body) * cost.JSON_BYTE)
        work = ndjson.EncodeStream(
            state.preprocessor,
            state.inference,
            model,
            chosen,
            permit,
            counted,
            asked or settings.deadline,
            0 if asked else settings.deadline_per_megapixel,
            settings.workers + 2,
            dict(enumerate(files)),
        )
        return ndjson.NdjsonResponse(work, held.pop_all())


async def _infer(request: Request, name: str, version: str | None) -> Response:
    state, headers = request.app.state, _headers(request)
    settings: Settings = state.settings
    model, operation = find_model(state.registry, name, version)
    seen = request_record(request.scope)
    seen.model, seen.version, seen.operation = model.manifest.name, str(model.manifest.version), operation
    chosen = parse_query(request.scope["query_string"], operation)
    asked = parse_deadline(headers.get(b"request-deadline"), settings.max_deadline)
    length, encoding = headers.get(b"inference-header-content-length"), headers.get(b"content-encoding")
    wire_format = V2Format(name, model, operation, length, encoding, chosen, asked, settings.max_deadline)
    return await _visit(request, headers, model, operation, wire_format)


def _headers(request: Request) -> dict[bytes, str]:
    return {key: value.decode("latin-1") for key, value in request.scope["headers"]}


async def _visit(
    request: Request, headers: dict[bytes, str], model: Model, operation: Operation, wire_format: WireFormat
) -> Response:
    """One request, one direction, within its time; admission leaves on every path."""
    state, seen = request.app.state, request_record(request.scope)
    settings: Settings = state.settings
    with state.statistics.time_request(model, operation) as counted, state.admission.enter() as permit:
        begun = perf_counter()
        body = await receive_body(
            request, headers.get(b"content-length"), settings.max_body_bytes, permit.reserve_bytes
        )
        received = perf_counter()
        seen.bytes_in = len(body)
        seen.stages.append(("receive", begun, received))
        permit.occupy()
        with Deadline(wire_format.seconds or settings.deadline) as deadline:
            payload = await state.scheduler.call(wire_format.parse, body, wire_format.parsing_cost(body))
            del body  # it may be large, and what it holds is in `payload`
            asked = wire_format.seconds
            if asked is not None and asked != deadline.seconds:  # said in the body
                deadline.extend(asked - deadline.seconds)

            async def worked() -> Response:
                if payload.format == "pdf":
                    return await document()
                inputs = await state.preprocessor.prepare(model, operation, payload, wire_format.options, permit)
                if asked is None and permit.pixels > MEGAPIXEL:
                    deadline.extend(permit.pixels / MEGAPIXEL * settings.deadline_per_megapixel)
                wire_format.negotiate(payload, inputs)
                decoded = perf_counter()
                seen.stages.append(("decode", received, decoded))
                seen.pixels = permit.pixels
                result = await state.inference.run(model, operation, inputs, wire_format.options)
                counted.samples = len(result.samples)
                ran = perf_counter()
                seen.stages += (("queue", decoded, result.run_start), ("run", result.run_start, result.run_end))
                if result.percentile is not None:
                    state.metrics.record_percentiles(seen.model, result.percentile)
                response: Response = await state.scheduler.call(
                    wire_format.serialize, result, wire_format.serialization_cost(result)
                )
                seen.stages.append(("encode", ran, perf_counter()))
                return response

            async def document() -> Response:
                responses.negotiate_pdf(headers.get(b"accept"))
                (part,) = payload.parts

                def extend(pixels: int) -> None:
                    seen.pixels = pixels
                    if asked is None and pixels > MEGAPIXEL:
                        deadline.extend(pixels / MEGAPIXEL * settings.deadline_per_megapixel)

                data = part.data if isinstance(part.data, bytes) else b""
                made = await state.documents.denoise(model, data, wire_format.options, permit, extend)
                counted.samples = made.pages
                seen.stages.append(("run", received, perf_counter()))
                return responses.pdf_response(made.data, model)

            is_short = payload.size <= UNWATCHED_BYTES and payload.format != "pdf"
            return await (worked() if is_short else cancel_on_disconnect(request, worked()))


def _summary(registry: Registry, model: Model) -> ModelSummary:
    manifest = model.manifest
    return ModelSummary(
        name=manifest.name,
        version=manifest.version,
        versions=list(registry.versions(manifest.name)),
        pinned=registry.is_pinned(manifest.name),
        kind=manifest.kind,
        description=manifest.description,
        operations=list(manifest.operations),
        provider=model.provider,
        precision=model.precision,
    )


def _facts(registry: Registry, model: Model) -> ModelFacts:
    ports = [port for port in (model.sample, model.latent) if port is not None]
    return ModelFacts(
        **_summary(registry, model).model_dump(),
        providers=dict(model.providers),
        ports={port.name: PortFacts(dtype=port.dtype, shape=["N", *port.shape[1:]]) for port in ports},
        training=model.manifest.training,
        evaluation=model.manifest.evaluation,
    )
