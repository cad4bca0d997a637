"""`autoencoder-service serve | models | tune | key`: the service from the command line; also `python -m service`.

Every error of the user is one line on stderr and exit code 2.
"""

import argparse
import gc
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import get_args

import uvicorn

from service import __version__, access, logs, settings, tuning
from service.app import create_app
from service.providers import Provider, ProviderMissing, usable_cores
from service.registry import Registry, open_all
from service.settings import Settings, SettingsError


def main(arguments: list[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    if asked.command is key:
        return key(str(asked.name))
    command: Callable[[Settings], int] = asked.command
    given = {name: value for name, value in vars(asked).items() if name != "command"}
    try:
        return command(settings.load(**given))
    except (SettingsError, ProviderMissing) as error:
        print(f"autoencoder-service: {error}", file=sys.stderr)
        return 2


def serve(chosen: Settings) -> int:
    """Open the models, listen, serve until SIGTERM or Ctrl-C; accepted requests are finished."""
    logs.install(chosen.log_format)
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
        log_config=None,  # its lines go where ours go, in the same form
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


def models(chosen: Settings) -> int:
    """List the packages under the models folder; exit code 1 if one is refused."""
    registry = open_all(chosen.models, chosen.provider, required=chosen.require_provider, precision=chosen.precision)
    for name in registry.names:
        model = registry.get(name)
        versions = ", ".join(map(str, registry.versions(name)))
        operations = " ".join(model.manifest.operations)
        print(f"{name:24}{versions:10}{model.manifest.kind:15}{model.provider:10}{model.precision:6}{operations}")
    for refusal in registry.refused:
        print(f"refused: {refusal.reason}", file=sys.stderr)
    if not registry.names:
        print(f"no packages in {chosen.models}", file=sys.stderr)
    return 1 if registry.refused else 0


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


def key(name: str) -> int:
    """Make a new API key: print it, this once, and the line of it for the file of keys."""
    try:
        made, line = access.new(name)
    except access.KeysError as bad:
        print(f"autoencoder-service: {bad}", file=sys.stderr)
        return 2
    print(f"key, shown only now: {made}\nline for the file of keys: {line}")
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
    commands = parser.add_subparsers(required=True, metavar="serve | models | tune | key")
    verbs: list[tuple[Callable[[Settings], int], str]] = [
        (serve, "start the service"),
        (models, "list the packages and the provider they run on"),
        (tune, "measure the best run shape on this machine and write it to the settings file"),
    ]
    for command, words in verbs:
        sub = commands.add_parser(command.__name__, help=words, description=command.__doc__)
        sub.set_defaults(command=command)
        sub.add_argument("--models", type=Path, metavar="FOLDER", help="folder that holds the packages")
        sub.add_argument("--provider", choices=get_args(Provider), help="execution provider to ask for")
        if command is serve:
            sub.add_argument("--host", help="address to listen on")
            sub.add_argument("--port", type=int, help="port to listen on; 0 takes any free one")
    sub = commands.add_parser("key", help="make a new API key", description=key.__doc__)
    sub.set_defaults(command=key)
    sub.add_argument("name", metavar="NAME", help="whose it is: letters, digits, dots, dashes, underscores")
    return parser


if __name__ == "__main__":
    sys.exit(main())
