"""Composition root: settings -> registry, admission, scheduler, inference -> routes. The only file that knows all.

bytes -> admission -> requests.read -> inference (pictures, pages, scheduler, model) -> answers.render -> bytes
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Annotated, Any, get_args

from fastapi import Depends, FastAPI, Path, Query, Request, Response
from fastapi_offline import FastAPIOffline

from service import __version__, answers, openapi, problems, requests
from service.admission import Admission
from service.errors import InvalidInput, NotReady, UnknownOperation
from service.fit import Fit
from service.inference import Inference, Options
from service.manifest import Operation
from service.model import Model
from service.registry import Registry, open_all
from service.scheduler import Scheduler
from service.schemas import Answer, ModelFacts, ModelList, ModelSummary, PortFacts, Problem, RefusedPackage, Status
from service.settings import Settings

OPERATIONS: tuple[Operation, ...] = get_args(Operation)
ABOUT = """Autoencoders over HTTP: `encode`, `decode`, `reconstruct`, `denoise`.

Send an image (raw body or form field `image`), JSON or `.npy`; the answer comes in the form the question came in,
or in the one that `Accept` names. Latents come as JSON. Denoisers without a size of their own take pictures of any
size: 16 bits, alpha, colour, profile, text and the pages of a TIFF stay. Every refusal is a problem document
(RFC 9457)."""

Name = Annotated[str, Path(description="a model of /v1/models", examples=["cats-stacked"])]
Version = Annotated[str, Path(description="a version of that model", examples=["1"])]
FitQuery = Annotated[Fit | None, Query(description="resize an image to the size the model takes")]
StrengthQuery = Annotated[
    float, Query(ge=0, le=1, description="how much of the correction is applied: 0 nothing, 1 all of it")
]


def create_app(settings: Settings) -> FastAPI:
    """The application, with every model under settings.models opened: who can reach it finds it ready.

    Raises:
        ProviderMissing: settings.require_provider, and a model does not run on settings.provider.
    """
    registry = open_all(
        settings.models, settings.provider, required=settings.require_provider, precision=settings.precision
    )
    admission = Admission(settings.max_requests, settings.max_inside_pixels, settings.max_inside_bytes)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        scheduler = Scheduler(settings.workers)
        app.state.scheduler = scheduler
        app.state.inference = Inference(scheduler, settings.max_pixels, settings.max_batch, settings.tile)
        yield
        scheduler.close()

    app = FastAPIOffline(
        title="Autoencoder service",
        version=__version__,
        description=ABOUT,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.registry, app.state.admission, app.state.settings = registry, admission, settings
    problems.install(app)
    _add_health(app, registry)
    _add_models(app, registry)
    for operation in OPERATIONS:
        _add_operation(app, operation)
    _add_unknown_operation(app)
    logging.getLogger("service.app").info("%d models are open", len(registry.names))
    return app


def _add_health(app: FastAPI, registry: Registry) -> None:
    @app.get("/livez", tags=["health"], summary="The process answers")
    async def livez() -> Status:
        return Status(status="alive")

    refused: dict[int | str, dict[str, Any]] = {503: {"description": "no model can be served", "model": Problem}}

    @app.get("/readyz", tags=["health"], summary="Models are open and can be asked", responses=refused)
    async def readyz() -> Status:
        if not registry.names:
            reasons = "; ".join(refusal.reason for refusal in registry.refused[:3]) or "the models folder is empty"
            raise NotReady(f"no model can be served: {reasons}")
        return Status(status="ready")


def _add_models(app: FastAPI, registry: Registry) -> None:
    unknown: dict[int | str, dict[str, Any]] = {404: {"description": "no such model or version", "model": Problem}}

    @app.get("/v1/models", tags=["models"], summary="All models, and what was refused")
    async def models() -> ModelList:
        return ModelList(
            models=[_summary(registry, registry.get(name)) for name in registry.names],
            refused=[RefusedPackage(folder=r.folder, reason=r.reason) for r in registry.refused],
        )

    @app.get("/v1/models/{name}", tags=["models"], summary="The card's facts", responses=unknown)
    async def model(name: Name) -> ModelFacts:
        return _facts(registry, registry.get(name))

    @app.get("/v1/models/{name}/versions/{version}", tags=["models"], summary="Of one version", responses=unknown)
    async def version(name: Name, version: Version) -> ModelFacts:
        return _facts(registry, registry.get(name, version))


def _add_operation(app: FastAPI, operation: Operation) -> None:
    read = _denoise_options if operation == "denoise" else _options

    async def newest(request: Request, name: Name, options: Annotated[Options, Depends(read)]) -> Response:
        return await _answer(request, operation, name, None, options)

    async def pinned(
        request: Request, name: Name, version: Version, options: Annotated[Options, Depends(read)]
    ) -> Response:
        return await _answer(request, operation, name, version, options)

    extra = {"requestBody": openapi.request_body(operation)}
    routes: list[tuple[str, Callable[..., Awaitable[Response]], str]] = [
        (f"/v1/models/{{name}}/{operation}", newest, operation),
        (f"/v1/models/{{name}}/versions/{{version}}/{operation}", pinned, f"{operation}_version"),
    ]
    for path, endpoint, identifier in routes:
        app.add_api_route(
            path,
            endpoint,
            methods=["POST"],
            tags=["operations"],
            summary=openapi.SUMMARIES[operation],
            description=f"Try it with `{openapi.EXAMPLE_MODEL[operation]}`.",
            operation_id=identifier,
            response_model=Answer,
            responses=openapi.responses(operation),
            openapi_extra=extra,
        )


async def _options(fit: FitQuery = None) -> Options:
    return Options(fit)


async def _denoise_options(fit: FitQuery = None, strength: StrengthQuery = 1.0) -> Options:
    return Options(fit, strength)


def _add_unknown_operation(app: FastAPI) -> None:
    @app.post("/v1/models/{name}/{operation}", include_in_schema=False)
    @app.post("/v1/models/{name}/versions/{version}/{operation}", include_in_schema=False)
    async def unknown(operation: str) -> Response:
        raise UnknownOperation(
            f"there is no operation {operation[:100]!r}; there are {', '.join(OPERATIONS)}", operations=list(OPERATIONS)
        )


async def _answer(request: Request, operation: Operation, name: str, version: str | None, options: Options) -> Response:
    """One request, one direction; admission leaves on every path."""
    state = request.app.state
    _check_parameters(request.query_params, operation)
    model: Model = state.registry.get(name, version)
    model.input_port(operation)
    with state.admission.enter() as permit:
        sent = requests.read(
            # by no name: it is large, and read once
            await requests.receive(request, state.settings.max_body_bytes, permit.hold),
            request.headers.get("content-type"),
            model,
            operation,
            state.settings.max_batch,
        )
        work = await state.inference.read(model, operation, sent, options, permit)
        media_type = answers.negotiate(request.headers.get("accept"), model, operation, sent, work)
        result = await state.inference.run(model, operation, work, options)

        def render(media_type: str) -> Response:
            return answers.render(result, media_type, model, operation, sent)

        response: Response = await state.scheduler.call(render, media_type)
    return response


def _check_parameters(given: Iterable[str], operation: Operation) -> None:
    for parameter in given:
        if parameter == "strength" and operation != "denoise":
            raise InvalidInput(f"strength is for denoise; {operation} has nothing to weaken")
        if parameter not in ("fit", "strength"):
            allowed = "allowed are fit and strength" if operation == "denoise" else "the only one is fit"
            raise InvalidInput(f"there is no parameter {parameter[:100]!r}; {allowed}")


def _summary(registry: Registry, model: Model) -> ModelSummary:
    manifest = model.manifest
    return ModelSummary(
        name=manifest.name,
        version=manifest.version,
        versions=list(registry.versions(manifest.name)),
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
        ports={port.name: PortFacts(dtype=port.dtype, shape=["N", *port.shape[1:]]) for port in ports},
        training=model.manifest.training,
        evaluation=model.manifest.evaluation,
    )
