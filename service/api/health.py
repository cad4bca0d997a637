"""Routes for operators: liveness, readiness, metrics.

GET /livez, /readyz, /v2/health/live, /v2/health/ready, /metrics
"""

from typing import Any

from fastapi import FastAPI, Request, Response

from service.api.router import METRICS
from service.api.schemas import Problem, Status
from service.api.services import Services
from service.api.v2.routes import add_v2_health_routes
from service.errors import NotReady
from service.inference.scheduler import OVERDUE_SECONDS
from service.observability.metrics import Exposition, Gauges, ServedModel


def add_health_routes(app: FastAPI, services: Services) -> None:
    registry, lifecycle, scheduler = services.registry, services.lifecycle, services.scheduler

    @app.get("/livez", tags=["health"], summary="The process answers")
    async def livez() -> Status:
        return Status(status="alive")

    unready: dict[int | str, dict[str, Any]] = {
        503: {"description": "no model can be served, workers are lost, or stopping", "model": Problem}
    }

    @app.get("/readyz", tags=["health"], summary="Models are open and can be asked", responses=unready)
    async def readyz() -> Status:
        if lifecycle.is_stopping:
            raise NotReady("the service is stopping; send new requests elsewhere")
        if not registry.names:
            reasons = "; ".join(rejected.reason for rejected in registry.rejected_packages[:3])
            raise NotReady(f"no model can be served: {reasons or 'the models folder is empty'}")
        lost_workers = scheduler.count_overdue_jobs(OVERDUE_SECONDS)
        if lost_workers:
            raise NotReady(
                f"{lost_workers} of {scheduler.workers} workers are still at work for requests that ended more than "
                f"{OVERDUE_SECONDS:g} s ago; if that stays, restart the service"
            )
        return Status(status="ready")

    add_v2_health_routes(app, readyz)


def add_metrics_route(app: FastAPI, services: Services) -> None:
    exposition = Exposition(services.metrics, lambda: _read_gauges(services))
    content: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}

    @app.get(METRICS, tags=["health"], summary="Prometheus metrics", responses=content, response_class=Response)
    async def read_metrics(request: Request) -> Response:
        body, content_type = exposition.render(request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": content_type})


def _read_gauges(services: Services) -> Gauges:
    registry, admission = services.registry, services.admission
    return Gauges(
        items_waiting=services.scheduler.queued_items,
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
