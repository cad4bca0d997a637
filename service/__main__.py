"""`autoencoder-service serve | models | tune`: the service from the command line; also `python -m service`.

Every error of the user is one line on stderr and exit code 2.
"""

import argparse
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import get_args

import uvicorn

from service import __version__, settings, shelf, tuning
from service.app import create_app
from service.providers import Provider, ProviderMissing, usable_cores
from service.registry import Registry, open_all
from service.settings import Settings, SettingsError


def main(arguments: list[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    command: Callable[..., int] = asked.command
    given = {name: value for name, value in vars(asked).items() if name != "command"}
    further = {name: given.pop(name) for name in ("action", "package") if name in given}
    try:
        return command(settings.load(**given), **further)
    except (SettingsError, ProviderMissing, shelf.NoSuchPackage) as error:
        print(f"autoencoder-service: {error}", file=sys.stderr)
        return 2


def serve(chosen: Settings) -> int:
    """Open the models, listen, serve until SIGTERM or Ctrl-C; accepted requests are finished."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    app = create_app(chosen)
    try:
        listening = _listen(chosen.host, chosen.port)
    except OSError as error:
        print(
            f"autoencoder-service: cannot listen on {chosen.host} port {chosen.port}: {error.strerror or error}; "
            "choose another with --port or AUTOENCODER_PORT",
            file=sys.stderr,
        )
        return 2
    host, port = listening.getsockname()[:2]
    _welcome(app.state.registry, f"http://{'localhost' if host in ('127.0.0.1', '0.0.0.0') else host}:{port}")  # noqa: S104
    config = uvicorn.Config(
        app,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        http="httptools",
        log_level="warning",
        access_log=False,
        proxy_headers=False,  # nothing here asks who the client is
    )

    def leave(_signal: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises its signal again when all is done
        signal.signal(number, leave)
    gc.collect()
    gc.freeze()  # else every full collection walks all that was imported, for 30 ms, and requests wait for it
    gc.set_threshold(50_000, 50, 1000)
    uvicorn.Server(config).run(sockets=[listening])
    return 0


def models(chosen: Settings, action: str | None = None, package: str | None = None) -> int:
    """List the packages under the models folder; `verify` them as the service does before it serves one (exit code 1:
    one is bad); print the `card` of one."""
    if action == "verify":
        return shelf.verified(chosen, package)
    if action == "card":
        return shelf.card(chosen, package)
    return shelf.listed(chosen)


def tune(chosen: Settings) -> int:
    """Measure how many runs side by side and which tile this machine likes best; write them to the settings file."""
    registry = open_all(chosen.models, chosen.provider, required=chosen.require_provider, precision=chosen.precision)
    denoisers = [model for model in map(registry.get, registry.names) if model.any_size]
    if not denoisers:
        print(
            f"autoencoder-service: nothing to tune: {chosen.models} holds no model of images of any size",
            file=sys.stderr,
        )
        return 2
    names = [model.manifest.name for model in denoisers]
    print("megapixels a second\nworkers  tile" + "".join(f"{name:>14}" for name in names))
    shapes = []
    for shape in tuning.measured(denoisers, usable_cores()):
        print(f"{shape.workers:7}{shape.tile:6}" + "".join(f"{rate:14.2f}" for rate in shape.rates), flush=True)
        shapes.append(shape)
    best = max(shapes, key=lambda shape: shape.mean)
    path = settings.write_file({"workers": best.workers, "tile": best.tile})
    print(f"best: workers = {best.workers}, tile = {best.tile}; written to {path}")
    return 0


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(2048)  # who reads the welcome can connect: the backlog holds them until the loop runs
    except (OSError, OverflowError):
        listening.close()
        raise
    return listening


def _welcome(registry: Registry, url: str) -> None:
    print(f"serving {', '.join(registry.names) or 'no model yet'} on {url}   documentation: {url}/docs")
    for name in registry.names:
        model = registry.get(name)
        if "reconstruct" in model.manifest.operations and model.modality == "image":
            print(f"try: curl -F image=@cat.png {url}/v1/models/{name}/reconstruct?fit=contain -o out.png")
            break
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="autoencoder-service", description="Autoencoders over HTTP.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="serve | models | tune")
    verbs: list[tuple[Callable[..., int], str]] = [
        (serve, "start the service"),
        (models, "list the packages and the provider they run on, verify them, print a card"),
        (tune, "measure the best run shape on this machine and write it to the settings file"),
    ]
    for command, words in verbs:
        sub = commands.add_parser(command.__name__, help=words, description=command.__doc__)
        sub.set_defaults(command=command)
        sub.add_argument("--models", type=Path, metavar="FOLDER", help="folder that holds the packages")
        sub.add_argument("--provider", choices=get_args(Provider), help="execution provider to ask for")
        if command is models:
            sub.add_argument("action", nargs="?", choices=("verify", "card"), help="list, if nothing is said")
            sub.add_argument("package", nargs="?", metavar="NAME[/VERSION]", help="which one; verify: all")
        if command is serve:
            sub.add_argument("--host", help="address to listen on")
            sub.add_argument("--port", type=int, help="port to listen on; 0 takes any free one")
    return parser


if __name__ == "__main__":
    sys.exit(main())
