"""The command `models`: list the packages in the models folder, verify them, print the card of one.

`models` | `models verify [NAME[/VERSION]]` | `models card NAME[/VERSION]` -> lines, and an exit code
"""

import errno
import sys

from service.cli.errors import PackageNotFound
from service.model.files.plain_files import to_printable
from service.repository.loader import PackageLoader
from service.repository.registry import select_default
from service.repository.store import ModelStore, open_store
from service.repository.verifier import VerificationFailed, Verifier
from service.settings import MIB, Settings


def list_models(settings: Settings) -> int:
    """Print a line for each model; exit code 1 if a package is rejected."""
    store = open_store(settings.models)
    loader = PackageLoader(store, settings.provider, required=settings.require_provider, precision=settings.precision)
    registry = loader.load_all()
    for name in registry.names:
        model = registry.get(name)
        versions = ", ".join(map(str, registry.versions(name)))
        operations = " ".join(model.manifest.operations)
        sys.stdout.write(
            f"{name:24}{versions:10}{model.manifest.kind:15}{model.provider:10}{model.precision:6}{operations}\n"
        )
    for package in registry.rejected_packages:
        sys.stderr.write(f"refused: {package.reason}\n")
    if not registry.names:
        sys.stderr.write(f"no packages in {settings.models}\n")
    return 1 if registry.rejected_packages else 0


def verify_packages(settings: Settings, name: str | None) -> int:
    """Verify packages as the running service does, and print a line for each; exit code 1 if one is bad.

    Args:
        settings: the models folder, and the limits of a verification.
        name: "NAME" or "NAME/VERSION"; None is all packages.

    Raises:
        PackageNotFound: no package has that name.
    """
    store = open_store(settings.models)
    verifier = Verifier(settings.verify_memory, settings.verify_seconds)
    exit_code = 0
    try:
        for key in _find_packages(store, name):
            try:
                verifier.verify(store.directory(key))
            except VerificationFailed as error:
                exit_code = 1
                sys.stdout.write(f"bad  {to_printable(f'{key}: {error}')}\n")
            else:
                sys.stdout.write(f"good {to_printable(key)}\n")
            sys.stdout.flush()
    finally:
        verifier.close()
    return exit_code


def print_card(settings: Settings, name: str | None) -> int:
    """Print the card (README.md) of a package: of the default version, unless `name` is "NAME/VERSION".

    Raises:
        PackageNotFound: there is no such package, or its card cannot be read.
    """
    if name is None:
        raise PackageNotFound("models card needs NAME or NAME/VERSION; `models` lists them")
    store = open_store(settings.models)
    matches = _find_packages(store, name)
    by_version = {int(version): key for key in matches if (version := key.rpartition("/")[2]).isdecimal()}
    declared = store.default_versions().get(matches[0].partition("/")[0])
    key = by_version[select_default(declared, by_version)] if by_version else matches[-1]
    try:
        card = store.read_file(key, "README.md", MIB)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EFBIG):
            raise PackageNotFound(f"the card of {key} is a link, or over 1 MiB") from error
        raise PackageNotFound(f"{key} has no card (README.md): {error.strerror}") from error
    sys.stdout.write(card.decode("utf-8", "replace"))
    return 0


def _find_packages(store: ModelStore, name: str | None) -> list[str]:
    """The packages called `name` ("NAME" or "NAME/VERSION"), as "<name>/<version>"; of None, all packages."""
    available = store.list_packages()
    if name is None:
        return available
    matches = [key for key in available if name in (key.partition("/")[0], key)]
    if not matches:
        raise PackageNotFound(f"there is no package {name!r}; there are: {', '.join(available) or 'none'}")
    return matches
