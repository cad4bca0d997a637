"""What the command line says of the packages under models/: listed, verified, and their cards.

`models` | `models verify [NAME[/VERSION]]` | `models card NAME[/VERSION]` -> lines, and an exit code
"""

import sys
from pathlib import Path

from service.model import package
from service.repository.registry import directories, open_all, pins
from service.repository.verifier import Unverified, Verifier
from service.settings import MIB, Settings


class NoSuchPackage(Exception):
    """Nothing under models/ has that name and version; the message is one line that says what there is."""


def listed(chosen: Settings) -> int:
    """A line for each model; exit code 1 if a package is refused."""
    registry = open_all(chosen.models, chosen.provider, required=chosen.require_provider, precision=chosen.precision)
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
        sys.stderr.write(f"no packages in {chosen.models}\n")
    return 1 if registry.refused else 0


def verified(chosen: Settings, which: str | None) -> int:
    """A line for each package, tried as the running service tries it; exit code 1 if one is bad.

    Raises:
        NoSuchPackage: `which` ("NAME" or "NAME/VERSION") names nothing that is there.
    """
    verifier = Verifier(chosen.verify_memory, chosen.verify_seconds)
    bad = 0
    try:
        for directory in _chosen(chosen.models, which):
            folder = package.folder(directory)
            try:
                verifier.verify(directory)
            except Unverified as refusal:
                bad = 1
                sys.stdout.write(f"bad  {folder}: {refusal}\n")
            else:
                sys.stdout.write(f"good {folder}\n")
            sys.stdout.flush()
    finally:
        verifier.close()
    return bad


def card(chosen: Settings, which: str | None) -> int:
    """The card (README.md) of a package: of the default version, unless one is named. Raises NoSuchPackage."""
    if which is None:
        raise NoSuchPackage("models card wants NAME or NAME/VERSION; `models` lists them")
    found = _chosen(chosen.models, which)
    pin = pins(chosen.models).get(found[0].parent.name)
    by_version = {int(path.name): path for path in found if path.name.isdecimal()}
    directory = by_version.get(pin) if isinstance(pin, int) else None
    directory = directory or (by_version[max(by_version)] if by_version else found[-1])
    path = directory / "README.md"
    try:
        if path.is_symlink() or path.stat().st_size > MIB:
            raise NoSuchPackage(f"the card of {package.folder(directory)} is a link, or over 1 MiB")
        sys.stdout.write(path.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise NoSuchPackage(f"{package.folder(directory)} has no card (README.md): {error.strerror}") from error
    return 0


def _chosen(models: Path, which: str | None) -> list[Path]:
    everything = directories(models)
    if which is None:
        return everything
    found = [p for p in everything if which in (p.parent.name, package.folder(p))]
    if not found:
        have = ", ".join(map(package.folder, everything)) or "none"
        raise NoSuchPackage(f"there is no package {which!r}; there are: {have}")
    return found
