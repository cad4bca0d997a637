"""Folder layout of models/: which packages lie there, their default versions, and what tells that a file changed.

models/<name>/<version>/ is a package; the plain file models/<name>/default holds a version number. Folders whose name
starts with "." and other plain files (README.md) are not packages.
"""

import contextlib
from pathlib import Path

from service.model.files.plain_files import read_regular
from service.repository.registry import DEFAULT, RejectedPackage

MAX_DEFAULT_BYTES = 1024  # of the file that holds a version number
FileSnapshot = tuple[tuple[str, int, int, int], ...]  # of each file: name, bytes, time of change in ns, inode


def list_packages(models: Path) -> list[Path]:
    """models/*/*, sorted; a name's folder without any version adds nothing."""
    packages: list[Path] = []
    for directory in _name_directories(models):
        with contextlib.suppress(FileNotFoundError):  # it was removed meanwhile
            packages += [path for path in sorted(directory.iterdir()) if _is_visible_directory(path)]
    return packages


def read_default_versions(models: Path) -> dict[str, int | RejectedPackage]:
    """Name -> the version that models/<name>/default holds, or why it holds none."""
    versions: dict[str, int | RejectedPackage] = {}
    for directory in _name_directories(models):
        name = directory.name
        key = f"{name}/{DEFAULT}"
        try:
            text = read_regular(directory / DEFAULT, MAX_DEFAULT_BYTES).strip()
        except (FileNotFoundError, IsADirectoryError):
            continue
        except OSError as error:
            versions[name] = RejectedPackage(key, f"{key} cannot be read: {error.strerror}")
            continue
        if text.isdigit():
            versions[name] = int(text)
        else:
            reason = f"{key} must hold one whole number, a version; its highest version is served"
            versions[name] = RejectedPackage(key, reason)
    return versions


def snapshot_files(directory: Path) -> FileSnapshot | None:
    """The state of a package's files; no file is read. None: the directory was removed meanwhile."""
    try:
        files = [(path.name, path.lstat()) for path in sorted(directory.iterdir())]
    except FileNotFoundError:
        return None
    except OSError:  # it may not be listed: loading the package will report that
        return ()
    return tuple((name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in files)


def _name_directories(models: Path) -> list[Path]:
    return sorted(path for path in models.iterdir() if _is_visible_directory(path))


def _is_visible_directory(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")
