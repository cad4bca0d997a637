"""Ray Serve deployment: the same application, with a number of replicas that follows the load (deploy/ray/serve.yaml).

request -> Ray Serve's proxy -> the replica with fewer requests in progress -> service.app

Ray Serve starts, checks, replaces and scales the replicas; each is the application that `serve` runs. Ray's proxy takes
the place of service.server.connection, so a load balancer has to limit slow clients.
"""

from typing import Any

from ray import serve
from starlette.types import ASGIApp

from service import settings
from service.app import create_app
from service.settings import Settings, SettingsError


class Replica:
    """One replica; it is ready when its models are open."""


def build(arguments: dict[str, Any]) -> serve.Application:
    """The application that `serve.yaml` names; `arguments` are settings, which override the environment.

    Raises SettingsError for an unknown setting, before a replica is started.
    """
    for name in arguments:
        if name not in Settings.model_fields:
            raise SettingsError(f"args: {name} is not a setting; autoencoder-service settings lists all")
    settings.load(**arguments)

    def create_application() -> ASGIApp:
        return create_app(settings.load(**arguments))

    deployment: Any = serve.deployment(name="Autoencoders")(serve.ingress(create_application)(Replica))
    return deployment.bind()
