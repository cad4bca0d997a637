"""The client of the commands on files: of a running service, or of one in this process that opens one package.

options -> with `url`: AsyncClient(url) | else package_for -> in_process.create_application -> AsyncClient
"""

import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from service import in_process
from service.cli.errors import FilesError
from service.cli.file_options import FileOptions
from service.client import AsyncClient, ServiceProblem, ServiceUnreachable
from service.model.errors import PackageError
from service.model.manifest import Manifest
from service.repository.registry import select_default
from service.repository.store import ModelStore, open_store
from service.settings import Settings

READ_TIMEOUT = 3600.0  # seconds without a byte: a long PDF takes its time, and the service has its own deadlines


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
    model, package_key = package_for(options, settings)
    try:
        application = in_process.create_application(settings, package_key)
    except PackageError as error:
        raise FilesError(str(error)) from error
    async with in_process.open_client(application) as client:
        yield client, model


def package_for(options: FileOptions, settings: Settings) -> tuple[str, str]:
    """The name of the model, as `client_for` selects it, and "<name>/<version>" of its package. Raises FilesError."""
    store = open_store(settings.models)
    packages = packages_with(options.operation, store)
    descriptions = {name: versions[-1][1].description for name, versions in packages.items()}
    model = _select_model(descriptions, options)
    return model, select_version(store, model, packages[model], options.model_version)


def packages_with(operation: str, store: ModelStore) -> dict[str, list[tuple[str, Manifest]]]:
    """By name, in order of version, the packages whose manifests list the operation; no graph is opened."""
    packages: dict[str, list[tuple[str, Manifest]]] = {}
    for key in store.list_packages():
        with contextlib.suppress(PackageError, OSError):  # `models verify` prints what is wrong with it
            manifest = store.read_manifest(key)
            if operation in manifest.operations:
                packages.setdefault(manifest.name, []).append((key, manifest))
    return {name: sorted(versions, key=lambda entry: entry[1].version) for name, versions in packages.items()}


def select_version(store: ModelStore, name: str, versions: list[tuple[str, Manifest]], version: int | None) -> str:
    """The package of `version`; of None, of the default version as the registry defines it. Raises FilesError."""
    by_version = {manifest.version: key for key, manifest in versions}
    if version is not None and version not in by_version:
        raise FilesError(f"{name} has no version {version}; it has {', '.join(map(str, by_version))}")
    return by_version[version or select_default(store.default_versions().get(name), by_version)]


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
