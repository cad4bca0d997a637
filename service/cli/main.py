"""`autoencoder-service serve | models | settings | denoise | ...`: all of it; also `python -m service`.

Every error of the user is one line on stderr and exit code 2.
"""

import argparse
import gc
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import get_args

import shtab
import uvicorn

from service import __version__, settings
from service.api import auth
from service.api.router import HEALTH, METRICS
from service.app import create_app
from service.cli import files, settings_table
from service.cli import models as shelf
from service.cli import tune as tuning
from service.cli.files import FilesError
from service.model.providers import Provider, ProviderMissing, usable_cores
from service.observability.logging import configure_logging
from service.repository.registry import Registry, open_all
from service.server.connection import Watch
from service.server.connection_limits import ConnectionLimits, allow_files
from service.server.graceful import Server
from service.settings import Settings, SettingsError


def main(arguments: list[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    if asked.command == "completion":
        print(shtab.complete(_parser(), asked.shell))
        return 0
    if asked.command == "key":
        return key(asked.name)
    given = {name: value for name, value in vars(asked).items() if name in Settings.model_fields}
    try:
        if isinstance(asked.command, str):
            return _on_files(asked.command, asked, settings.load(models=asked.folder, provider=asked.provider))
        command: Callable[..., int] = asked.command
        chosen = settings.load(**given)
        if command is show:
            return show(chosen, settings.origins(**given), as_json=asked.json)
        further = {name: getattr(asked, name) for name in ("action", "package") if hasattr(asked, name)}
        return command(chosen, **further)
    except (SettingsError, ProviderMissing, FilesError, shelf.NoSuchPackage) as error:
        print(f"autoencoder-service: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # who read the list has seen enough of it
        sys.stdout = None  # else the interpreter tries to write the rest as it leaves
        return 0


def _on_files(operation: str, asked: argparse.Namespace, chosen: Settings) -> int:
    if getattr(asked, "engine", "here") == "here":
        return files.run(operation, asked, chosen)
    try:
        from service.cli import ray_batch
    except ImportError as error:
        raise FilesError(files.RAY_WANTED) from error
    return ray_batch.run(operation, asked, chosen)


def serve(chosen: Settings) -> int:
    """Open the models, listen, serve until SIGTERM (which drains) or Ctrl-C; accepted requests are finished."""
    configure_logging(chosen.log_format)
    allow_files(chosen.max_connections)
    app = create_app(chosen)
    watch = Watch(ConnectionLimits.from_settings(chosen, HEALTH | {METRICS}))
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
        http=watch.connection,  # type: ignore[arg-type]  # any callable that makes a protocol
        ws="none",
        timeout_keep_alive=chosen.keep_alive,
        log_level="warning",
        access_log=False,
        log_config=None,  # its lines go where ours go, in the same form
        proxy_headers=False,  # nothing here asks who the client is
    )

    def leave(_signal: int, _frame: FrameType | None) -> None:
        raise SystemExit(0)

    for number in (signal.SIGTERM, signal.SIGINT):  # until the server, which has its own handlers, runs
        signal.signal(number, leave)
    gc.collect()
    gc.freeze()  # else every full collection walks all that was imported, for 30 ms, and requests wait for it
    gc.set_threshold(50_000, 50, 1000)
    Server(config, watch, app.state, chosen.drain).run(sockets=[listening])
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


def show(chosen: Settings, origins: Mapping[str, str], *, as_json: bool) -> int:
    """List every setting: what is in force and from where, default, range, meaning."""
    listed = settings_table.knobs(chosen, origins)
    print(settings_table.json(listed) if as_json else settings_table.text(listed))
    return 0


def key(name: str) -> int:
    """Make a new API key: print it, this once, and the line of it for the file of keys."""
    try:
        made, line = auth.new(name)
    except auth.KeysError as bad:
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
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    verbs: list[tuple[Callable[..., int], str]] = [
        (serve, "start the service"),
        (models, "list the packages and the provider they run on, verify them, print a card"),
        (tune, "measure the best run shape on this machine and write it to the settings file"),
        (show, "list every setting: value, default, range, meaning"),
    ]
    for command, words in verbs:
        name = "settings" if command is show else command.__name__
        sub = commands.add_parser(name, help=words, description=command.__doc__)
        sub.set_defaults(command=command)
        _add_common(sub, "--models", "models")
        if command is models:
            sub.add_argument("action", nargs="?", choices=("verify", "card"), help="list, if nothing is said")
            sub.add_argument("package", nargs="?", metavar="NAME[/VERSION]", help="which one; verify: all")
        if command is show:
            sub.add_argument("--json", action="store_true", help="as JSON, for programs")
        if command in (serve, show):
            sub.add_argument("--host", help="address to listen on")
            sub.add_argument("--port", type=int, help="port to listen on; 0 takes any free one")
    on_files = {
        "denoise": "clean image files, without a server or with one",
        "encode": "image files to latents",
        "decode": "latents to images",
        "reconstruct": "image files by how unusual they are: reconstruction errors as CSV",
    }
    for operation, words in on_files.items():
        sub = commands.add_parser(operation, help=words, description=f"{words[0].upper()}{words[1:]}.")
        sub.set_defaults(command=operation)
        files.add_arguments(sub, operation)
        _add_common(sub, "--models", "folder")
    sub = commands.add_parser("completion", help="print what makes a shell complete these commands")
    sub.set_defaults(command="completion")
    sub.add_argument("shell", choices=shtab.SUPPORTED_SHELLS)
    sub = commands.add_parser("key", help="make a new API key", description=key.__doc__)
    sub.set_defaults(command="key")
    sub.add_argument("name", metavar="NAME", help="whose it is: letters, digits, dots, dashes, underscores")
    return parser


def _add_common(parser: argparse.ArgumentParser, folder: str, destination: str) -> None:
    parser.add_argument(folder, dest=destination, type=Path, metavar="FOLDER", help="folder that holds the packages")
    parser.add_argument("--provider", choices=get_args(Provider), help="execution provider to ask for")
