"""Model store: where packages lie. FolderStore is the only one, and the only place that knows of the folder models/.

store.list_packages -> keys "<name>/<version>" -> directory, read, read_manifest, read_file -> loader, command line, API
store.snapshot -> watcher: what was added, changed or removed
"""

import os
from pathlib import Path
from typing import Protocol

from service.model import package
from service.model.files.plain_files import read_regular
from service.model.manifest import Manifest
from service.model.package import Package
from service.repository import layout
from service.repository.layout import FileSnapshot
from service.repository.registry import RejectedPackage


class ModelStore(Protocol):
    """A place that holds packages. A key is "<name>/<version>", as sentences and listings call a package."""

    def list_packages(self) -> list[str]:
        """Keys of all packages, sorted; what is not a usable package is among them. Raises OSError."""

    def snapshot(self) -> dict[str, FileSnapshot]:
        """Key -> the state of its files: equal snapshots mean equal packages. Reads no file. Raises OSError."""

    def default_versions(self) -> dict[str, int | RejectedPackage]:
        """Name -> the version that the store declares its default, or why that cannot be followed. Raises OSError."""

    def directory(self, key: str) -> Path:
        """The package as a directory of this machine, models/<name>/<version>; a remote store makes a copy."""

    def read(self, key: str) -> Package:
        """The package, verified. Raises PackageError, OSError."""

    def read_manifest(self, key: str) -> Manifest:
        """The manifest alone. Raises ManifestError, OSError."""

    def list_files(self, key: str) -> dict[str, int]:
        """Name -> bytes of the package's plain files; links are left out; {} if the package was removed."""

    def read_file(self, key: str, name: str, max_bytes: int) -> bytes:
        """Bytes of a plain file. Raises OSError; ELOOP: the file is a link; EFBIG: it is larger than `max_bytes`."""


def open_store(models: Path) -> "ModelStore":
    """The store that the setting `models` names: a folder."""
    return FolderStore(models)


class FolderStore:
    """A ModelStore of packages in a folder, one directory for each: models/<name>/<version>/.

    Args:
        models: the folder.
    """

    def __init__(self, models: Path) -> None:
        self._models = models

    def list_packages(self) -> list[str]:
        return [package.format_key(directory) for directory in layout.list_packages(self._models)]

    def snapshot(self) -> dict[str, FileSnapshot]:
        """See ModelStore."""
        snapshots = {
            package.format_key(directory): layout.snapshot_files(directory)
            for directory in layout.list_packages(self._models)
        }
        return {key: snapshot for key, snapshot in snapshots.items() if snapshot is not None}

    def default_versions(self) -> dict[str, int | RejectedPackage]:
        return layout.read_default_versions(self._models)

    def directory(self, key: str) -> Path:
        return self._models / key

    def read(self, key: str) -> Package:
        return package.read(self.directory(key))

    def read_manifest(self, key: str) -> Manifest:
        return package.read_manifest(self.directory(key))

    def list_files(self, key: str) -> dict[str, int]:
        try:
            with os.scandir(self.directory(key)) as entries:
                return {
                    entry.name: entry.stat(follow_symlinks=False).st_size
                    for entry in entries
                    if entry.is_file(follow_symlinks=False)
                }
        except OSError:  # the package was removed while its model is still open
            return {}

    def read_file(self, key: str, name: str, max_bytes: int) -> bytes:
        return read_regular(self.directory(key) / name, max_bytes, follow_links=False)
