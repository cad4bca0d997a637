"""The service on a Ray cluster: the same application, as many replicas as there is work (`deploy/ray/serve.yaml`).

request -> Ray Serve's proxy -> the replica with fewer requests inside -> service.app

Ray Serve starts, checks, replaces and counts the replicas; each is the application that `serve` runs, too. In front
stands Ray's proxy and not `service.server.connection`: slow senders are the load balancer's business there.
"""

from typing import Any

from ray import serve
from starlette.types import ASGIApp

from service import settings
from service.app import create_app
from service.settings import Settings, SettingsError


class Replica:
    """One of them; it is ready when its models are open."""


def build(arguments: dict[str, Any]) -> serve.Application:
    """What `serve.yaml` names. `args` are settings by name, before those of the environment.

    Raises SettingsError for one that there is not, before a replica is started.
    """
    for name in arguments:
        if name not in Settings.model_fields:
            raise SettingsError(f"args: {name} is not a setting; autoencoder-service settings lists all")
    settings.load(**arguments)

    def application() -> ASGIApp:
        return create_app(settings.load(**arguments))

    replicas: Any = serve.deployment(name="Autoencoders")(serve.ingress(application)(Replica))
    return replicas.bind()
