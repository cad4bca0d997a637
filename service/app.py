"""Composition root: builds the services and the application that handles requests with them.

settings -> registry, scheduler, ... -> Services -> routes, OperationHandler -> OperationRouter -> RequestMiddleware
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from service import __version__
from service.api.auth import ApiKeys, KeysError
from service.api.diffusers.routes import add_diffusers_routes
from service.api.documentation_page import restyle_documentation
from service.api.error_handlers import add_error_handlers
from service.api.health import add_health_routes, add_metrics_route
from service.api.middleware import RequestMiddleware
from service.api.model_files import add_file_routes
from service.api.models import add_model_routes
from service.api.openapi import customize_openapi
from service.api.operations import OperationHandler
from service.api.router import OperationRouter
from service.api.services import Services
from service.api.v1.blend import add_blend_route
from service.api.v1.limits import add_limits_route
from service.api.v1.routes import add_operation_routes, add_unknown_operation_routes
from service.api.v2.routes import add_v2_routes
from service.inference.admission import Admission
from service.inference.documents import Documents
from service.inference.engine import Inference
from service.inference.inputs import Preprocessor
from service.inference.scheduler import Scheduler
from service.observability.metrics import Metrics
from service.observability.statistics import Statistics
from service.observability.tracing import Tracing, configure_tracing
from service.repository.indexes import NeighbourIndexes
from service.repository.loader import PackageLoader
from service.repository.registry import Registry
from service.repository.store import ModelStore, open_store
from service.repository.verifier import Verifier
from service.repository.watcher import Watcher
from service.server.lifecycle import Lifecycle
from service.settings import Settings, SettingsError
from service.web.routes import add_page_routes

ABOUT = """Autoencoders over HTTP: `encode`, `decode`, `reconstruct`, `denoise`.

Send an image (raw body or form field `image`), JSON, `.npy` or a table (CSV, Parquet); the answer comes in the form the
question came in, or in the one that `Accept` names. Latents come as JSON. Denoisers without a size of their own take
pictures of any size: 16 bits, alpha, colour, profile, text and the pages of a TIFF stay; a PDF becomes a PDF of cleaned
pages. Every refusal is a problem document (RFC 9457)."""


def create_app(
    settings: Settings,
    tracing: Tracing | None = None,
    *,
    trusted: bool = False,
    only: Collection[str] | None = None,
) -> RequestMiddleware:
    """The application with all models of settings.models loaded, which happens before a port is bound.

    Args:
        tracing: exports the spans, in place of the exporter that settings.tracing starts.
        trusted: packages are not verified in a process of their own first, which takes a second.
        only: packages to load, "<name>/<version>", None for all.
    Raises:
        ProviderMissing: with settings.require_provider, a model that does not run on settings.provider.
        SettingsError: settings.keys is not a file of keys, or settings.tracing is on without its extra.
    """
    try:
        keys = ApiKeys(settings.keys) if settings.keys is not None else None
    except KeysError as error:
        raise SettingsError(str(error)) from error
    if tracing is None and settings.tracing:
        tracing = configure_tracing()
    store = open_store(settings.models)
    snapshot = store.snapshot()
    verifier = Verifier(settings.verify_memory, settings.verify_seconds)
    loader = PackageLoader(store, settings.provider, settings.require_provider, settings.precision, settings.workers)
    try:
        registry = replace(loader, verifier=None if trusted else verifier).load_all(only)
    finally:
        verifier.close()
    loader = replace(loader, verifier=verifier, warm_up_side=settings.tile)
    services = _build_services(settings, store, registry)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watcher = Watcher(
            registry,
            loader,
            snapshot,
            settings.watch,
            lambda: services.inference.drop_unused_batchers(registry.models),
        )
        task = asyncio.create_task(watcher.run()) if settings.watch > 0 else None
        yield
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        verifier.close()
        services.scheduler.close()
        if tracing is not None:
            tracing.close()

    app = (FastAPIOffline if settings.docs else partial(FastAPI, docs_url=None, openapi_url=None))(
        title="Autoencoder service",
        version=__version__,
        description=ABOUT,
        redoc_url=None,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,  # of a function: generated clients have plain names
    )
    restyle_documentation(app, has_page=settings.page)
    _add_routes(app, services)
    logging.getLogger("service.app").info("%d models are open", len(registry.names))
    handler = OperationHandler(services)
    router = OperationRouter(
        app, handler.handle_v1, handler.handle_v2, handler.handle_diffusers, handler.handle_neighbours
    )
    return RequestMiddleware(router, services, keys, tracing)


def _build_services(settings: Settings, store: ModelStore, registry: Registry) -> Services:
    scheduler, statistics, metrics = Scheduler(settings.workers), Statistics(), Metrics()
    inference = Inference(scheduler, settings.tile, metrics.record_run, statistics)
    return Services(
        settings=settings,
        store=store,
        registry=registry,
        indexes=NeighbourIndexes(store),
        admission=Admission(
            settings.max_requests, settings.max_inside_pixels, settings.max_inside_bytes, settings.max_run_bytes
        ),
        scheduler=scheduler,
        preprocessor=Preprocessor(scheduler, settings.max_pixels, settings.max_batch, settings.max_side),
        inference=inference,
        documents=Documents(scheduler, inference, settings),
        statistics=statistics,
        metrics=metrics,
        lifecycle=Lifecycle(),
    )


def _add_routes(app: FastAPI, services: Services) -> None:
    settings, registry = services.settings, services.registry
    add_error_handlers(app)
    customize_openapi(app, settings)
    add_operation_routes(app)
    add_health_routes(app, services)
    if settings.metrics:
        add_metrics_route(app, services)
    add_model_routes(app, services)
    add_limits_route(app, settings)
    add_blend_route(app, services)
    add_file_routes(app, registry, services.store)
    if settings.page:
        add_page_routes(app)
    add_unknown_operation_routes(app)
    add_v2_routes(app, registry, services.statistics)
    add_diffusers_routes(app)
