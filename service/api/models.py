"""Routes of the models: GET /v1/models, /v1/models/<name>, /v1/models/<name>/versions/<version>.

Registry -> ModelList | ModelFacts
"""

from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Path

from service.api.schemas import (
    Examples,
    ModelFacts,
    ModelList,
    ModelSummary,
    PortFacts,
    Problem,
    RefusedPackage,
    ScoreFacts,
)
from service.api.services import Services
from service.model.errors import PackageError
from service.model.examples import EXAMPLES_FILE, MAX_BYTES, read_examples
from service.model.runtime import Model
from service.repository.registry import Registry

Name = Annotated[str, Path(description="a model of /v1/models", examples=["cats-stacked"])]
Version = Annotated[str, Path(description="a version of that model", examples=["1"])]


def add_model_routes(app: FastAPI, services: Services) -> None:
    registry = services.registry
    unknown: dict[int | str, dict[str, Any]] = {404: {"description": "no such model or version", "model": Problem}}

    @app.get("/v1/models", tags=["models"], summary="All models, and what was refused")
    async def list_models() -> ModelList:
        return ModelList(
            models=[_summarize(registry, registry.get(name)) for name in registry.names],
            refused=[RefusedPackage(folder=r.key, reason=r.reason) for r in registry.rejected_packages],
        )

    @app.get("/v1/models/{name}", tags=["models"], summary="The card's facts", responses=unknown)
    async def get_model(name: Name) -> ModelFacts:
        return _describe(services, registry.get(name))

    @app.get("/v1/models/{name}/versions/{version}", tags=["models"], summary="Of one version", responses=unknown)
    async def get_model_version(name: Name, version: Version) -> ModelFacts:
        return _describe(services, registry.get(name, version))

    @app.get(
        "/v1/models/{name}/versions/{version}/examples",
        tags=["models"],
        summary="A few samples of its test split",
        responses=unknown,
    )
    def list_examples(name: Name, version: Version) -> Examples:
        return _read_examples(services, registry.get(name, version))


def _read_examples(services: Services, model: Model) -> Examples:
    manifest = model.manifest
    try:
        data = services.store.read_file(manifest.key, EXAMPLES_FILE, 2 * MAX_BYTES)
        samples = read_examples(data, model.sample)
    except (OSError, PackageError) as error:
        raise HTTPException(404) from error
    data_facts = (
        manifest.training.data if manifest.training is not None else manifest.imported and manifest.imported.samples
    )
    source, licence = (data_facts.source, data_facts.licence) if data_facts else (None, None)
    return Examples(inputs=samples.tolist(), source=source, licence=licence)


def _summarize(registry: Registry, model: Model) -> ModelSummary:
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


def _describe_score(model: Model) -> ScoreFacts | None:
    entry = model.manifest.score
    if "reconstruct" not in model.manifest.operations:
        return None
    samples = model.manifest.held_out_samples if entry is None else entry.samples
    return ScoreFacts(name=model.score_name, samples=samples, auroc={} if entry is None else entry.auroc)


def _describe(services: Services, model: Model) -> ModelFacts:
    ports = [port for port in (model.sample, model.latent) if port is not None]
    return ModelFacts(
        **_summarize(services.registry, model).model_dump(),
        providers=dict(model.providers),
        ports={port.name: PortFacts(dtype=port.dtype, shape=["N", *port.shape[1:]]) for port in ports},
        fit=model.manifest.fit,
        keeps_figures=bool(model.manifest.keeps_figures),
        score=_describe_score(model),
        shortfalls=list(model.manifest.shortfalls or ()),
        training=model.manifest.training,
        imported=model.manifest.imported,
        latent_scaling=model.manifest.latent_scaling,
        features=model.manifest.features,
        examples=EXAMPLES_FILE in services.store.list_files(model.manifest.key),
        neighbours=services.has_index(model),
        translations=model.manifest.translations or {},
        columns=None if model.manifest.columns is None else list(model.manifest.columns),
        evaluation=model.manifest.evaluation,
    )
