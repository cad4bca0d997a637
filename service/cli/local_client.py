"""The client of the commands on files: of a running service, or of one in this process that opens one package.

options -> with `url`: AsyncClient(url) | else package_for -> create_app(only=[package]) -> AsyncClient(ASGITransport)
"""

import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2

from service.app import create_app
from service.cli.errors import FilesError
from service.cli.file_options import FileOptions
from service.client import AsyncClient, ServiceProblem, ServiceUnreachable
from service.model import package
from service.model.manifest import Manifest
from service.repository.registry import directories, pins
from service.settings import Settings

READ_TIMEOUT = 3600.0  # seconds without a byte: a long PDF takes its time, and the service has its own deadlines
LOCAL_DEADLINE = 86_400.0  # seconds for one file in this process: in effect none


@asynccontextmanager
async def client_for(options: FileOptions, settings: Settings) -> AsyncIterator[tuple[AsyncClient, str]]:
    """A client, and the name of the model: the one in `options`, or the only one that can do the operation.

    In this process only that model's package is opened. Raises FilesError.
    """
    operation = options.operation
    if options.url is not None:
        key = options.key or os.environ.get("AUTOENCODER_KEY")
        async with AsyncClient(options.url, key=key, timeout=READ_TIMEOUT) as client:
            try:
                models = await client.models()
            except (ServiceProblem, ServiceUnreachable) as error:
                raise FilesError(str(error)) from error
            descriptions = {m["name"]: m["description"] for m in models if operation in m["operations"]}
            yield client, _select_model(descriptions, options)
        return
    model, directory = package_for(options, settings)
    overrides = {
        "deadline": LOCAL_DEADLINE, "max_deadline": LOCAL_DEADLINE, "watch": 0, "keys": None, "log_requests": "off",
    }  # fmt: skip
    app = create_app(settings.model_copy(update=overrides), trusted=True, only=[directory])
    if app.state.registry.refused:
        raise FilesError(app.state.registry.refused[0].reason)
    async with app.fallback.router.lifespan_context(app.fallback):
        transport = httpx2.ASGITransport(app)
        async with AsyncClient("http://this-process", timeout=LOCAL_DEADLINE, retries=0, transport=transport) as client:
            yield client, model


def package_for(options: FileOptions, settings: Settings) -> tuple[str, Path]:
    """The name of the model, as `client_for` selects it, and its package's directory. Raises FilesError."""
    packages = packages_with(options.operation, settings.models)
    descriptions = {name: versions[-1][1].description for name, versions in packages.items()}
    model = _select_model(descriptions, options)
    return model, select_version(settings.models, model, packages[model], options.model_version)


def packages_with(operation: str, models: Path) -> dict[str, list[tuple[Path, Manifest]]]:
    """By name, in order of version, the packages whose manifests list the operation; no graph is opened."""
    packages: dict[str, list[tuple[Path, Manifest]]] = {}
    for directory in directories(models):
        with contextlib.suppress(package.PackageError, OSError):  # `models verify` prints what is wrong with it
            manifest = package.read_manifest(directory)
            if operation in manifest.operations:
                packages.setdefault(manifest.name, []).append((directory, manifest))
    return {name: sorted(versions, key=lambda entry: entry[1].version) for name, versions in packages.items()}


def select_version(models: Path, name: str, versions: list[tuple[Path, Manifest]], version: int | None) -> Path:
    """The directory of `version`; of None, the default version as the registry defines it. Raises FilesError."""
    by_version = {manifest.version: directory for directory, manifest in versions}
    if version is not None and version not in by_version:
        raise FilesError(f"{name} has no version {version}; it has {', '.join(map(str, by_version))}")
    pin = pins(models).get(name)
    return by_version[version or (pin if isinstance(pin, int) and pin in by_version else max(by_version))]


def _select_model(descriptions: Mapping[str, str], options: FileOptions) -> str:
    """Of the models that can do the operation (name: description), the one in `options`, or the only one."""
    if options.model is not None:
        if options.model not in descriptions:
            available = ", ".join(descriptions) or "none"
            raise FilesError(f"no model {options.model} can {options.operation}; there are: {available}")
        return options.model
    if len(descriptions) == 1:
        return next(iter(descriptions))
    choices = "; ".join(f"{model} ({description.split(':')[0]})" for model, description in descriptions.items())
    raise FilesError(f"name a model with --model; there are: {choices or 'none'}")
