"""The command line `autoencoder-service serve | models | settings | denoise | ...`; also `python -m service`.

arguments -> parser -> the command's `run` -> exit code

A user's error is one line on standard error and exit code 2.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import shtab

from service import __version__, settings
from service.api import auth
from service.cli import files, models, neighbours, settings_table, tune
from service.cli.errors import CommandError, FilesError
from service.cli.file_options import RAY_MISSING, FileOperation, FileOptions, add_file_arguments
from service.cli.serve import serve
from service.model.files.plain_files import to_printable
from service.model.providers import Provider, ProviderMissing
from service.settings import Settings, SettingsError

Command = Callable[[argparse.Namespace], int]

FILE_COMMANDS: dict[FileOperation, str] = {
    "denoise": "clean image files, without a server or with one",
    "encode": "image files to latents",
    "decode": "latents to images",
    "reconstruct": "image files by how unusual they are: reconstruction errors as CSV",
    "sample": "new images, or vectors, that a variational autoencoder draws",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command that `arguments` (default: the process's) name; returns its exit code."""
    options = build_parser().parse_args(arguments)
    run: Command = options.run
    try:
        return run(options)
    except (CommandError, SettingsError, ProviderMissing, auth.KeysError) as error:
        print(f"autoencoder-service: {to_printable(str(error))}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of standard output has closed it
        sys.stdout = None  # else the interpreter tries to flush the rest at exit
        return 0


# --- the commands ---------------------------------------------------------------------------------------------


def run_serve(options: argparse.Namespace) -> int:
    return serve(settings.load(**_settings_arguments(options)))


def run_models(options: argparse.Namespace) -> int:
    loaded = settings.load(**_settings_arguments(options))
    if options.action == "verify":
        return models.verify_packages(loaded, options.package)
    if options.action == "card":
        return models.print_card(loaded, options.package)
    return models.list_models(loaded)


def run_tune(options: argparse.Namespace) -> int:
    return tune.tune(settings.load(**_settings_arguments(options)))


def run_settings(options: argparse.Namespace) -> int:
    arguments = _settings_arguments(options)
    rows = settings_table.setting_rows(settings.load(**arguments), settings.find_origins(**arguments))
    print(settings_table.format_json(rows) if options.json else settings_table.format_text(rows))
    return 0


def run_on_files(options: argparse.Namespace) -> int:
    file_options = FileOptions.from_arguments(options)
    arguments = _settings_arguments(options)
    if file_options.url is not None:
        arguments["models"] = Path()  # no package of this machine is opened, so its models folder need not exist
    loaded = settings.load(**arguments)
    if file_options.engine == "here":
        return files.run(file_options, loaded)
    try:
        from service.cli import ray_batch
    except ImportError as error:
        raise FilesError(RAY_MISSING) from error
    return ray_batch.run(file_options, loaded)


def run_neighbours(options: argparse.Namespace) -> int:
    """`neighbours` and `index`."""
    arguments = _settings_arguments(options)
    if options.url is not None and (options.command == "neighbours" or options.output is not None):
        arguments["models"] = Path()  # as for the commands on files
    command = neighbours.run_neighbours if options.command == "neighbours" else neighbours.run_index
    return command(options, settings.load(**arguments))


def run_completion(options: argparse.Namespace) -> int:
    print(shtab.complete(build_parser(), options.shell))
    return 0


def run_key(options: argparse.Namespace) -> int:
    secret, line = auth.generate_key(options.name)
    print(f"key, shown only now: {secret}\nline for the file of keys: {line}")
    return 0


def _settings_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """The options that are settings; None where the command line does not give them."""
    return {name: value for name, value in vars(options).items() if name in Settings.model_fields}


# --- the parsers ----------------------------------------------------------------------------------------------


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each sets `run`, a function of the parsed options that returns an exit code."""
    parser = argparse.ArgumentParser(prog="autoencoder-service", description="Autoencoders over HTTP.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")

    def add_command(name: str, run: Command, summary: str, description: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=summary, description=description)
        command.set_defaults(run=run)
        return command

    command = add_command(
        "serve",
        run_serve,
        "start the service",
        "Open the models, listen, serve until SIGTERM (which drains) or Ctrl-C; accepted requests are finished.",
    )
    _add_model_arguments(command)
    _add_address_arguments(command)
    command = add_command(
        "models",
        run_models,
        "list the packages and the provider they run on, verify them, print a card",
        "List the packages in the models folder; `verify` them as the service does before it serves one (exit code 1 "
        "if one is bad); print the `card` of one.",
    )
    _add_model_arguments(command)
    command.add_argument("action", nargs="?", choices=("verify", "card"), help="default: list them")
    command.add_argument("package", nargs="?", metavar="NAME[/VERSION]", help="the package; verify: default all")
    command = add_command(
        "tune",
        run_tune,
        "measure the best run shape on this machine and write it to the settings file",
        "Measure which number of parallel runs and which tile are fastest on this machine; write them to the settings "
        "file.",
    )
    _add_model_arguments(command)
    command = add_command(
        "settings",
        run_settings,
        "list every setting: value, default, range, meaning",
        "List every setting: the value in force and its origin, default, range, meaning.",
    )
    _add_model_arguments(command)
    command.add_argument("--json", action="store_true", help="as JSON, for programs")
    _add_address_arguments(command)
    for operation, summary in FILE_COMMANDS.items():
        command = add_command(operation, run_on_files, summary, f"{summary[0].upper()}{summary[1:]}.")
        command.set_defaults(operation=operation)
        add_file_arguments(command, operation)
        _add_model_arguments(command)
    for name, summary in (
        ("neighbours", "the nearest images or rows, by their latents"),
        ("index", "build the index in which a model's neighbours are found"),
    ):
        command = add_command(name, run_neighbours, summary, f"{summary[0].upper()}{summary[1:]}.")
        command.set_defaults(command=name)
        neighbours.add_arguments(command, name)
        _add_model_arguments(command)
    command = commands.add_parser("completion", help="print the completion script of a shell")
    command.set_defaults(run=run_completion)
    command.add_argument("shell", choices=shtab.SUPPORTED_SHELLS)
    command = add_command(
        "key",
        run_key,
        "create an API key",
        "Create an API key: print it, this once, and its line for the file of keys.",
    )
    command.add_argument("name", metavar="NAME", help="its owner: letters, digits, dots, dashes, underscores")
    return parser


def _add_model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--models", type=Path, metavar="FOLDER", help="folder that holds the packages")
    parser.add_argument("--provider", choices=get_args(Provider), help="execution provider to use")


def _add_address_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--port", type=int, help="port to listen on; 0 takes any free one")
