"""Code of the user's that builds a torch module: a file or a dotted name, imported and run, as the user asks.

module.py:build | package.module:build -> Python module, its neighbours on the path -> build() -> torch module, SHA-256
"""

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from torch import nn

from training.errors import ImportRefused


def build(target: str) -> tuple[nn.Module, dict[str, str]]:
    """The torch module, and name -> SHA-256 of the file that builds it.

    Args:
        target: "path/module.py:build" or "package.module:build"; build() returns a torch module, or is one.
    Raises:
        ImportRefused: in one sentence, with the remedy.
    """
    place, _, name = target.rpartition(":")
    if not place or not name:
        raise ImportRefused(f"--torch {target}: write module.py:build, where build() returns the module")
    code, files = _import(place)
    found = getattr(code, name, None)
    if isinstance(found, nn.Module):
        return found, files
    if not callable(found):
        raise ImportRefused(f"{place} has no function {name}; it must return the torch module")
    try:
        module = found()
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise ImportRefused(f"{target} failed: {type(error).__name__}: {error}") from error
    if not isinstance(module, nn.Module):
        raise ImportRefused(f"{target} returned {type(module).__name__}; it must return a torch.nn.Module")
    return module, files


def _import(place: str) -> tuple[ModuleType, dict[str, str]]:
    """A module by its file, or by its dotted name."""
    path = Path(place)
    try:
        module = _import_file(path) if path.suffix == ".py" else _import_name(place, Path.cwd())
    except ImportRefused:
        raise
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise ImportRefused(f"{place} cannot be imported: {type(error).__name__}: {error}") from error
    file = Path(module.__file__ or "")
    return module, {file.name: hashlib.sha256(file.read_bytes()).hexdigest()} if file.is_file() else {}


def _import_file(path: Path) -> ModuleType:
    """A file by itself, its neighbours importable by their names; one with relative imports as part of its package."""
    path = path.resolve(strict=True)
    try:
        return _run_file(path)
    except ImportError as error:
        if "no known parent package" not in str(error):
            raise
    folder = path.parent
    parts = [folder.name, path.stem]
    while (folder / "__init__.py").is_file() and (folder.parent / "__init__.py").is_file():
        folder = folder.parent
        parts.insert(0, folder.name)
    module = _import_name(".".join(parts), folder.parent)
    if Path(module.__file__ or "").resolve() != path:
        raise ImportRefused(
            f"{path.name} is in a package {parts[0]}, and another one of this name is loaded; rename it"
        )
    return module


def _run_file(path: Path) -> ModuleType:
    name = path.stem if path.stem not in sys.modules else f"module_{path.stem}"  # json.py must not replace json
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportRefused(f"{path} is no Python module")
    module = importlib.util.module_from_spec(spec)
    _add_to_path(path.parent)  # its neighbours
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _import_name(name: str, root: Path) -> ModuleType:
    _add_to_path(root)
    importlib.invalidate_caches()
    return importlib.import_module(name)


def _add_to_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
