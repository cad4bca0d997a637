"""The packages found under models/, verified and opened, by name and version.

models/<name>/<version>/ -> package.read -> Model -> get(name, version)

Folders whose name starts with "." and plain files (README.md) are not packages. A package that is refused does
not stop the others: it is logged, and listed with its sentence.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from service import package
from service.errors import UnknownModel, UnknownVersion
from service.model import Model
from service.package import PackageError
from service.providers import Precision, Provider, SessionFailed

_log = logging.getLogger("service.registry")


@dataclass(frozen=True)
class Refusal:
    """A folder that is no usable package, and one sentence that says why."""

    folder: str
    reason: str


class Registry:
    """All usable models: name -> version -> Model."""

    def __init__(self, models: dict[str, dict[int, Model]], refused: tuple[Refusal, ...] = ()) -> None:
        self._models = models
        self.refused = refused

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._models))

    def versions(self, name: str) -> tuple[int, ...]:
        """Rising; raises UnknownModel (404)."""
        if name not in self._models:
            have = ", ".join(self.names) or "none"
            raise UnknownModel(f"there is no model {name!r}; there are: {have}", models=list(self.names))
        return tuple(sorted(self._models[name]))

    def get(self, name: str, version: str | None = None) -> Model:
        """The model of that version, by default of the highest.

        Args:
            version: as it stands in the address.
        Raises:
            UnknownModel, UnknownVersion: the sentence names what there is (404).
        """
        versions = self.versions(name)
        if version is None:
            return self._models[name][versions[-1]]
        for number in versions:
            if str(number) == version:
                return self._models[name][number]
        have = ", ".join(map(str, versions))
        raise UnknownVersion(f"{name} has no version {version!r}; it has {have}", versions=list(versions))


def open_all(
    models: Path, provider: Provider, *, required: bool, precision: Precision = "auto", cores: int = 1
) -> Registry:
    """Verify and open every package under `models`, one after another: making a session holds the interpreter.

    Args:
        required, precision, cores: see service.model.Model.
    Raises:
        ProviderMissing: `required`, and a session does not run on `provider`; that is no package's fault.
    """
    opened: dict[str, dict[int, Model]] = {}
    refused: list[Refusal] = []
    for directory in _directories(models):
        folder = f"{directory.parent.name}/{directory.name}"
        try:
            model = Model(package.read(directory), provider, cores, required=required, precision=precision)
        except (PackageError, SessionFailed, OSError) as reason:
            refused.append(Refusal(folder, _sentence(folder, reason)))
            _log.error("%s is not served: %s", folder, refused[-1].reason)
        else:
            opened.setdefault(model.manifest.name, {})[model.manifest.version] = model
    return Registry(opened, tuple(refused))


def _directories(models: Path) -> list[Path]:
    """models/*/*, sorted; a name's folder without any version is left alone."""
    names = sorted(p for p in models.iterdir() if p.is_dir() and not p.name.startswith("."))
    return [
        version
        for name in names
        for version in sorted(name.iterdir())
        if version.is_dir() and not version.name.startswith(".")
    ]


def _sentence(folder: str, reason: PackageError | SessionFailed | OSError) -> str:
    if isinstance(reason, PackageError):
        return str(reason)
    if isinstance(reason, OSError):
        return f"{folder} cannot be read: {reason.strerror}"
    return f"{folder} cannot be opened by onnxruntime: {reason}"
