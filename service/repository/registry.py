"""The packages found under models/, verified and opened, by name and version.

models/<name>/<version>/ -> [Verifier, in another process] -> package.read -> Model, warmed up -> get(name, version)

Which version is served when none is named: the one that the plain file models/<name>/default holds, as a whole
number (`echo 3 > models/pages/default` pins, and rolls back); without the file, the highest. Removing a version's
folder, or renaming it to begin with ".", retires it.

Folders whose name starts with "." and plain files (README.md) are not packages. A package that is refused does
not stop the others: it is logged, and listed with its sentence.
"""

import contextlib
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from service.errors import ModelFailed, UnknownModel, UnknownVersion
from service.model import golden, package
from service.model.package import Package, PackageError
from service.model.providers import Precision, Provider, ProviderMissing, SessionFailed, fallback
from service.model.runtime import Model, unusable
from service.repository.verifier import Unverified, Verifier, fingerprint

DEFAULT = "default"
WARM_UP = 256  # pixels along free sides

_log = logging.getLogger("service.registry")


@dataclass(frozen=True)
class Refusal:
    """A folder that is no usable package, and one sentence that says why."""

    folder: str
    reason: str


class Registry:
    """All usable models: name -> version -> Model. Changed only on the event loop; `get` is one look-up."""

    def __init__(
        self,
        models: Mapping[str, Mapping[int, Model]],
        refused: tuple[Refusal, ...] = (),
        pins: Mapping[str, int | Refusal] | None = None,
    ) -> None:
        self._models = {name: dict(versions) for name, versions in models.items()}
        self._refused = {refusal.folder: refusal for refusal in refused}
        self._pins = dict(pins or {})
        self._table: dict[tuple[str, str | None], Model] = {}
        self._tabulate()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._models))

    @property
    def models(self) -> tuple[Model, ...]:
        """Every version of every name."""
        return tuple(model for versions in self._models.values() for model in versions.values())

    @property
    def refused(self) -> tuple[Refusal, ...]:
        """Folders that are not served, and files `default` that are not followed; by folder."""
        pins = {f"{name}/{DEFAULT}": self._pin_refused(name) for name in self._pins}
        found = {**self._refused, **{folder: refusal for folder, refusal in pins.items() if refusal is not None}}
        return tuple(found[folder] for folder in sorted(found))

    def versions(self, name: str) -> tuple[int, ...]:
        """Rising; raises UnknownModel (404)."""
        if name not in self._models:
            have = ", ".join(self.names) or "none"
            raise UnknownModel(f"there is no model {name!r}; there are: {have}", models=list(self.names))
        return tuple(sorted(self._models[name]))

    def pinned(self, name: str) -> bool:
        """Whether models/<name>/default says which version is served, and it is there."""
        return self._pins.get(name) in self._models.get(name, {})

    def get(self, name: str, version: str | None = None) -> Model:
        """The model of that version, else of the default: pinned, or the highest.

        Args:
            version: as it stands in the address.
        Raises:
            UnknownModel, UnknownVersion: the sentence names what there is (404).
        """
        model = self._table.get((name, version))
        if model is not None:
            return model
        versions = self.versions(name)
        have = ", ".join(map(str, versions))
        raise UnknownVersion(f"{name} has no version {version!r}; it has {have}", versions=list(versions))

    def put(self, model: Model) -> None:
        """Serve it, from the next request on; who has the version that was there keeps it to the end."""
        name, version = model.manifest.name, model.manifest.version
        self._models.setdefault(name, {})[version] = model
        self._refused.pop(f"{name}/{version}", None)
        self._tabulate()

    def refuse(self, refusal: Refusal) -> None:
        """Report a folder; what is served goes on."""
        self._refused[refusal.folder] = refusal

    def remove(self, folder: str) -> bool:
        """Retire "<name>/<version>", which is gone; whether it was served."""
        self._refused.pop(folder, None)
        name, _, version = folder.rpartition("/")
        versions = self._models.get(name, {})
        gone = [number for number in versions if str(number) == version]
        for number in gone:
            del versions[number]
        if not versions:
            self._models.pop(name, None)
        self._tabulate()
        return bool(gone)

    def pin(self, pins: Mapping[str, int | Refusal]) -> bool:
        """What the files models/<name>/default say now; whether that is news."""
        if self._pins == pins:
            return False
        self._pins = dict(pins)
        self._tabulate()
        return True

    def _tabulate(self) -> None:
        table: dict[tuple[str, str | None], Model] = {}
        for name, versions in self._models.items():
            table.update({(name, str(number)): model for number, model in versions.items()})
            pin = self._pins.get(name)
            table[name, None] = versions[pin if isinstance(pin, int) and pin in versions else max(versions)]
        self._table = table

    def _pin_refused(self, name: str) -> Refusal | None:
        pin = self._pins[name]
        if isinstance(pin, Refusal):
            return pin
        versions = self._models.get(name, {})
        if pin in versions:
            return None
        what = f"its highest, {max(versions)}, is served" if versions else "none of its versions is served"
        return Refusal(f"{name}/{DEFAULT}", f"{name}/{DEFAULT} says {pin}, which is not served; {what}")


@dataclass(frozen=True)
class Opener:
    """How packages are opened here.

    Args:
        provider, required, precision, cores: see service.model.runtime.Model.
        verifier: tries each package first; None: it is opened at once, and only asked its golden pair.
        side: pixels along free sides of what models are warmed up with.
    """

    provider: Provider = "auto"
    required: bool = False
    precision: Precision = "auto"
    cores: int = 1
    verifier: Verifier | None = None
    side: int = WARM_UP

    def open(self, directory: Path) -> Model | Refusal:
        """models/<name>/<version>/ verified, opened, warmed up; a refusal is logged. Takes seconds: not on the loop.

        Raises:
            ProviderMissing: `required`, and a session does not run on `provider`; that is no package's fault.
        """
        folder = package.folder(directory)
        try:
            passed = None if self.verifier is None else self.verifier.verify(directory)
            opened = _same(package.read(directory), passed, folder)
            model = Model(opened, self.provider, self.cores, required=self.required, precision=self.precision)
            model.warm_up(self.side)
            golden.check(opened, model)
        except (PackageError, SessionFailed, Unverified, ModelFailed, OSError) as reason:
            refusal = Refusal(folder, str(reason) if isinstance(reason, Unverified) else unusable(folder, reason))
            _log.error("%s is not served: %s", folder, refusal.reason)
            return refusal
        _log.info("%s is open on %s, %s (asked for: %s)", folder, model.provider, model.precision, self.provider)
        missed = fallback(self.provider, model.provider)
        if missed is not None:
            _log.warning("%s: %s", folder, missed)
        return model


def open_all(
    models: Path,
    provider: Provider,
    *,
    required: bool,
    precision: Precision = "auto",
    cores: int = 1,
    verifier: Verifier | None = None,
    only: Collection[Path] | None = None,
) -> Registry:
    """Verify and open every package under `models`, one after another: making a session holds the interpreter.

    Args:
        required, precision, cores, verifier: see Opener.
        only: the packages to open, None for all; the others are as if they were not there.
    Raises:
        ProviderMissing: `required`, and a session does not run on `provider`; that is no package's fault.
    """
    opener = Opener(provider, required, precision, cores, verifier)
    opened: dict[str, dict[int, Model]] = {}
    refused: list[Refusal] = []
    for directory in directories(models) if only is None else only:
        outcome = opener.open(directory)
        if isinstance(outcome, Refusal):
            refused.append(outcome)
        else:
            opened.setdefault(outcome.manifest.name, {})[outcome.manifest.version] = outcome
    return Registry(opened, tuple(refused), pins(models))


def directories(models: Path) -> list[Path]:
    """models/*/*, sorted; a name's folder without any version is left alone."""
    found: list[Path] = []
    for name in _names(models):
        with contextlib.suppress(FileNotFoundError):  # it went away meanwhile
            found += [p for p in sorted(name.iterdir()) if p.is_dir() and not p.name.startswith(".")]
    return found


def pins(models: Path) -> dict[str, int | Refusal]:
    """What the plain files models/<name>/default say: a version, or why they say none."""
    found: dict[str, int | Refusal] = {}
    for name in _names(models):
        try:
            with (name / DEFAULT).open("rb") as file:
                text = file.read(100).strip()
        except (FileNotFoundError, IsADirectoryError):
            continue
        except OSError as error:
            found[name.name] = Refusal(
                f"{name.name}/{DEFAULT}", f"{name.name}/{DEFAULT} cannot be read: {error.strerror}"
            )
            continue
        if text.isdigit():
            found[name.name] = int(text)
        else:
            sentence = f"{name.name}/{DEFAULT} must hold one whole number, a version; its highest version is served"
            found[name.name] = Refusal(f"{name.name}/{DEFAULT}", sentence)
    return found


def _same(opened: Package, passed: str | None, folder: str) -> Package:
    if passed not in (None, fingerprint(opened.manifest)):
        raise Unverified(f"{folder} was changed while it was verified")
    return opened


def _names(models: Path) -> list[Path]:
    return sorted(p for p in models.iterdir() if p.is_dir() and not p.name.startswith("."))


__all__ = ["DEFAULT", "Opener", "ProviderMissing", "Refusal", "Registry", "directories", "open_all", "pins"]
