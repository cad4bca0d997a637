"""The command `models`: list the packages in the models folder, verify them, print the card of one.

`models` | `models verify [NAME[/VERSION]]` | `models card NAME[/VERSION]` -> lines, and an exit code
"""

import sys
from pathlib import Path

from service.cli.errors import PackageNotFound
from service.model import package
from service.repository.registry import directories, open_all, pins
from service.repository.verifier import Unverified, Verifier
from service.settings import MIB, Settings


def list_models(settings: Settings) -> int:
    """Print a line for each model; exit code 1 if a package is rejected."""
    registry = open_all(
        settings.models, settings.provider, required=settings.require_provider, precision=settings.precision
    )
    for name in registry.names:
        model = registry.get(name)
        versions = ", ".join(map(str, registry.versions(name)))
        operations = " ".join(model.manifest.operations)
        sys.stdout.write(
            f"{name:24}{versions:10}{model.manifest.kind:15}{model.provider:10}{model.precision:6}{operations}\n"
        )
    for refusal in registry.refused:
        sys.stderr.write(f"refused: {refusal.reason}\n")
    if not registry.names:
        sys.stderr.write(f"no packages in {settings.models}\n")
    return 1 if registry.refused else 0


def verify_packages(settings: Settings, name: str | None) -> int:
    """Verify packages as the running service does, and print a line for each; exit code 1 if one is bad.

    Args:
        settings: the models folder, and the limits of a verification.
        name: "NAME" or "NAME/VERSION"; None is all packages.

    Raises:
        PackageNotFound: no package has that name.
    """
    verifier = Verifier(settings.verify_memory, settings.verify_seconds)
    exit_code = 0
    try:
        for directory in _find_packages(settings.models, name):
            folder = package.folder(directory)
            try:
                verifier.verify(directory)
            except Unverified as error:
                exit_code = 1
                sys.stdout.write(f"bad  {folder}: {error}\n")
            else:
                sys.stdout.write(f"good {folder}\n")
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
    matches = _find_packages(settings.models, name)
    pin = pins(settings.models).get(matches[0].parent.name)
    by_version = {int(path.name): path for path in matches if path.name.isdecimal()}
    directory = by_version.get(pin) if isinstance(pin, int) else None
    directory = directory or (by_version[max(by_version)] if by_version else matches[-1])
    path = directory / "README.md"
    try:
        if path.is_symlink() or path.stat().st_size > MIB:
            raise PackageNotFound(f"the card of {package.folder(directory)} is a link, or over 1 MiB")
        sys.stdout.write(path.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise PackageNotFound(f"{package.folder(directory)} has no card (README.md): {error.strerror}") from error
    return 0


def _find_packages(models: Path, name: str | None) -> list[Path]:
    """The directories of the packages called `name` ("NAME" or "NAME/VERSION"); of None, of all packages."""
    available = directories(models)
    if name is None:
        return available
    matches = [path for path in available if name in (path.parent.name, package.folder(path))]
    if not matches:
        names = ", ".join(map(package.folder, available)) or "none"
        raise PackageNotFound(f"there is no package {name!r}; there are: {names}")
    return matches
