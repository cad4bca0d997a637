"""Changes of packages that exist, and the commands that make them.

directories -> change(directory) -> files, then the manifest, each written atomically -> the package is read again
"""

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from service.model import package
from service.model.errors import PackageError
from service.model.manifest import Manifest
from training.engine import checkpoint
from training.errors import TrainingError


def write(directory: Path, manifest: Manifest, files: Iterable[tuple[str, bytes, str]] = ()) -> None:
    """Write the files, each a name, its content and what it is, and the manifest into the package in `directory`.

    The manifest comes last: until it is written, a package that gets new files is as it was.

    Raises:
        DiskError: a file cannot be written.
        PackageError, OSError: the package cannot be read any more.
    """
    for name, content, label in files:
        checkpoint.write_atomically(directory / name, content, label)
    checkpoint.write_atomically(directory / package.MANIFEST, package.to_json(manifest), "the manifest")
    package.read(directory)


def build_parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """Of `python -m <module> models/NAME/VERSION ...`, with the first line of `description`: `packages`, list[Path]."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=(description or "").splitlines()[0])
    parser.add_argument("packages", nargs="+", type=Path, metavar="models/NAME/VERSION")
    return parser


def run(module: str, directories: Iterable[Path], change: Callable[[Path], str]) -> int:
    """Change each package, and print what `change` says of it; exit code 0, or 2 with one line on standard error."""
    for directory in directories:
        try:
            result = change(directory.absolute())
        except (PackageError, OSError, TrainingError) as error:
            sys.stderr.write(f"{module}: {error}\n")
            return 2
        sys.stdout.write(f"{directory}: {result}\n")
    return 0
