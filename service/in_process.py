"""Application in this process that serves one package, and a client of it, without a network.

settings, "<name>/<version>" -> create_application -> open_client -> AsyncClient

For the commands on files (service.cli.local_client) and for service.autoencoder.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2

from service.api.middleware import RequestMiddleware
from service.app import create_app
from service.client import AsyncClient
from service.model.errors import PackageError
from service.settings import Settings

NO_DEADLINE = 86_400.0  # seconds for one request: in effect none


def create_application(settings: Settings, key: str) -> RequestMiddleware:
    """The application; raises PackageError if the package is not one that the service would serve.

    Files `default` of the store are not followed: the key says which version is meant.
    """
    overrides = {
        "deadline": NO_DEADLINE, "max_deadline": NO_DEADLINE, "watch": 0, "keys": None, "log_requests": "off",
    }  # fmt: skip
    application = create_app(settings.model_copy(update=overrides), trusted=True, only=[key])
    rejected_packages = application.services.registry.rejected_packages
    if rejected_packages:
        raise PackageError(rejected_packages[0].reason)
    return application


@asynccontextmanager
async def open_client(application: RequestMiddleware) -> AsyncIterator[AsyncClient]:
    """A client of the application, which runs inside the block."""
    fallback, transport = application.fallback, httpx2.ASGITransport(application)
    async with (
        fallback.router.lifespan_context(fallback),
        AsyncClient("http://this-process", timeout=NO_DEADLINE, retries=0, transport=transport) as client,
    ):
        yield client
