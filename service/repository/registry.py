"""Model registry: the models that are served, by name and version, and the packages that were rejected.

store -> loader -> Registry.add -> index -> get(name, version), one look-up for each request

Which version is served when none is named: the one that the store declares its default (the file
models/<name>/default holds a whole number; `echo 3 > models/pages/default` pins, and rolls back), else the highest.
Removing a version's folder, or renaming it to begin with ".", retires it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from service.errors import UnknownModel, UnknownVersion
from service.model.files.plain_files import to_printable
from service.model.runtime import Model

DEFAULT = "default"


@dataclass(frozen=True)
class RejectedPackage:
    """A package that is not served, or a file `default` that is not followed.

    `key`: "<name>/<version>", or "<name>/default". `reason`: one sentence.
    """

    key: str
    reason: str


class Registry:
    """All usable models: name -> version -> Model. Changed only on the event loop; `get` is one look-up."""

    def __init__(
        self,
        models: Mapping[str, Mapping[int, Model]],
        rejected_packages: tuple[RejectedPackage, ...] = (),
        default_versions: Mapping[str, int | RejectedPackage] | None = None,
    ) -> None:
        self._models = {name: dict(versions) for name, versions in models.items()}
        self._rejected_packages = {package.key: package for package in rejected_packages}
        self._default_versions = dict(default_versions or {})
        self._index: dict[tuple[str, str | None], Model] = {}
        self._rebuild_index()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._models))

    @property
    def models(self) -> tuple[Model, ...]:
        """Every version of every name."""
        return tuple(model for versions in self._models.values() for model in versions.values())

    @property
    def rejected_packages(self) -> tuple[RejectedPackage, ...]:
        """Packages that are not served, and files `default` that are not followed; sorted by key, in printable form."""
        defaults = [self._check_default(name) for name in self._default_versions]
        by_key = {**self._rejected_packages, **{package.key: package for package in defaults if package is not None}}
        return tuple(RejectedPackage(to_printable(key), to_printable(by_key[key].reason)) for key in sorted(by_key))

    def versions(self, name: str) -> tuple[int, ...]:
        """Rising; raises UnknownModel (404)."""
        if name not in self._models:
            names = ", ".join(self.names) or "none"
            raise UnknownModel(f"there is no model {name!r}; there are: {names}", models=list(self.names))
        return tuple(sorted(self._models[name]))

    def is_pinned(self, name: str) -> bool:
        """Whether the store declares which version of `name` is served, and that version is there."""
        return self._default_versions.get(name) in self._models.get(name, {})

    def get(self, name: str, version: str | None = None) -> Model:
        """The model of that version, else of the default: pinned, or the highest.

        Args:
            version: as it stands in the address.
        Raises:
            UnknownModel, UnknownVersion: the sentence names what there is (404).
        """
        model = self._index.get((name, version))
        if model is not None:
            return model
        versions = self.versions(name)
        numbers = ", ".join(map(str, versions))
        raise UnknownVersion(f"{name} has no version {version!r}; it has {numbers}", versions=list(versions))

    def add(self, model: Model) -> None:
        """Serve the model from the next request on; requests under way keep the one that it replaces."""
        name, version = model.manifest.name, model.manifest.version
        self._models.setdefault(name, {})[version] = model
        self._rejected_packages.pop(f"{name}/{version}", None)
        self._rebuild_index()

    def reject(self, package: RejectedPackage) -> None:
        """List a package as rejected; what is served under its key is served on."""
        self._rejected_packages[package.key] = package

    def remove(self, key: str) -> bool:
        """Retire "<name>/<version>", which was removed from the store; whether it was served."""
        self._rejected_packages.pop(key, None)
        name, _, version = key.rpartition("/")
        versions = self._models.get(name, {})
        retired_versions = [number for number in versions if str(number) == version]
        for number in retired_versions:
            del versions[number]
        if not versions:
            self._models.pop(name, None)
        self._rebuild_index()
        return bool(retired_versions)

    def set_default_versions(self, default_versions: Mapping[str, int | RejectedPackage]) -> bool:
        """Follow what the store declares now; whether that is a change."""
        if self._default_versions == default_versions:
            return False
        self._default_versions = dict(default_versions)
        self._rebuild_index()
        return True

    def _rebuild_index(self) -> None:
        index: dict[tuple[str, str | None], Model] = {}
        for name, versions in self._models.items():
            index.update({(name, str(number)): model for number, model in versions.items()})
            index[name, None] = versions[select_default(self._default_versions.get(name), versions)]
        self._index = index

    def _check_default(self, name: str) -> RejectedPackage | None:
        """Why the default version that the store declares is not followed, None if it is."""
        default = self._default_versions[name]
        if isinstance(default, RejectedPackage):
            return default
        versions = self._models.get(name, {})
        if default in versions:
            return None
        consequence = f"its highest, {max(versions)}, is served" if versions else "none of its versions is served"
        key = f"{name}/{DEFAULT}"
        return RejectedPackage(key, f"{key} says {default}, which is not served; {consequence}")


def select_default(declared_default: int | RejectedPackage | None, versions: Collection[int]) -> int:
    """Of at least one version, the one that is served when none is named: the declared default, or the highest."""
    return declared_default if isinstance(declared_default, int) and declared_default in versions else max(versions)
