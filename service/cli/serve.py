"""The command `serve`: opens the models, binds the port, runs the server until a signal ends it.

settings -> create_app -> _listen -> GracefulServer.run -> exit code
"""

import gc
import signal
import socket
import sys
from functools import partial
from types import FrameType

import uvicorn

from service.api.router import HEALTH, METRICS
from service.app import create_app
from service.cli.errors import ListenError
from service.observability.logging import configure_logging
from service.repository.registry import Registry
from service.server.connection import Connection
from service.server.connection_limits import ConnectionLimits, allow_files
from service.server.connection_monitor import ConnectionMonitor
from service.server.graceful import GracefulServer
from service.settings import MEGAPIXEL, Settings

_EXAMPLES = {"pages": "example-page.png", "photos": "example-photo.jpg"}  # pictures of the page, by model


def serve(settings: Settings) -> int:
    """Open the models, listen, serve until SIGTERM (which drains) or Ctrl-C; accepted requests are finished.

    Raises:
        ListenError: the address cannot be bound.
    """
    configure_logging(settings.log_format)
    allow_files(settings.max_connections)
    app = create_app(settings)
    monitor = ConnectionMonitor(ConnectionLimits.from_settings(settings, HEALTH | {METRICS}))
    try:
        listener = _listen(settings.host, settings.port)
    except OSError as error:
        raise ListenError(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror or error}; "
            "choose another with --port or AUTOENCODER_PORT"
        ) from error
    host, port = listener.getsockname()[:2]
    public_host = "localhost" if host in ("127.0.0.1", "0.0.0.0") else host  # noqa: S104
    _print_welcome(app.services.registry, f"http://{public_host}:{port}", has_page=settings.page)
    config = uvicorn.Config(
        app,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        http=partial(Connection, monitor),  # type: ignore[arg-type]  # any callable that returns a protocol
        ws="none",
        timeout_keep_alive=settings.keep_alive,
        log_level="warning",
        access_log=False,
        log_config=None,  # uvicorn's lines go through the service's handlers, in the same format
        proxy_headers=False,  # nothing here needs the client's address
    )
    for number in (signal.SIGTERM, signal.SIGINT):  # until the server installs its own handlers
        signal.signal(number, _exit_on_signal)
    gc.collect()
    gc.freeze()  # else every full collection walks all imported objects, for 30 ms, and requests wait for it
    gc.set_threshold(50_000, 50, 1000)
    grace = settings.deadline + settings.deadline_per_megapixel * settings.max_pixels / MEGAPIXEL
    GracefulServer(config, monitor, app.services.lifecycle, settings.drain, grace).run(sockets=[listener])
    return 0


def _exit_on_signal(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)  # from the welcome line on, connections wait in the backlog until the event loop runs
    except (OSError, OverflowError):
        listener.close()
        raise
    return listener


def _print_welcome(registry: Registry, url: str, *, has_page: bool) -> None:
    """What is served, and a command that works in any shell; its picture comes from the page."""
    print(f"serving {', '.join(registry.names) or 'no model yet'} on {url}   documentation: {url}/docs")
    models = [model for model in map(registry.get, registry.names) if model.modality == "image"]
    denoisers = [model.manifest.name for model in models if model.any_size and "denoise" in model.manifest.operations]
    autoencoders = [model.manifest.name for model in models if "reconstruct" in model.manifest.operations]
    names = [name for name in denoisers if name in _EXAMPLES] or denoisers
    if names or autoencoders:
        path = f"{names[0]}/denoise" if names else f"{autoencoders[0]}/reconstruct?fit=contain"
        example = _EXAMPLES.get(names[0] if names else "", "drawings.png")
        source = f"curl -s {url}/page/{example} | " if has_page else ""
        image = "@-" if has_page else "@IMAGE.png"
        print(f"try: {source}curl --fail-with-body -F image={image} '{url}/v1/models/{path}' -o out.png")
    sys.stdout.flush()
