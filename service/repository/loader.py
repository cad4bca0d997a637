"""Package loader: verifies a package, opens it with onnxruntime and warms it up.

key -> [Verifier, in another process] -> store.read -> Model, warmed up -> golden.verify -> Model | RejectedPackage

A package that is rejected does not stop the others: it is logged, and listed with the reason.
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass

from service.errors import ModelFailed
from service.model import golden
from service.model.errors import PackageError
from service.model.package import Package
from service.model.providers import Precision, Provider, SessionFailed, describe_fallback
from service.model.runtime import Model, rejection_reason
from service.repository.registry import Registry, RejectedPackage
from service.repository.store import ModelStore
from service.repository.verifier import VerificationFailed, Verifier, fingerprint

WARM_UP_SIDE = 256  # pixels along free sides

_log = logging.getLogger("service.registry")


@dataclass(frozen=True)
class PackageLoader:
    """How the packages of a store are loaded.

    Args:
        store: where the packages lie.
        provider, required, precision, cores: see service.model.runtime.Model.
        verifier: tries each package first. None: a package is opened at once, and its golden pair verified.
        warm_up_side: pixels along free sides of the images that models are warmed up with.
    """

    store: ModelStore
    provider: Provider = "auto"
    required: bool = False
    precision: Precision = "auto"
    cores: int = 1
    verifier: Verifier | None = None
    warm_up_side: int = WARM_UP_SIDE

    def load(self, key: str) -> Model | RejectedPackage:
        """The package "<name>/<version>", verified, opened, warmed up; a rejection is logged. Blocks for seconds.

        Raises:
            ProviderMissing: `required`, and a session does not run on `provider`; the package is not at fault.
        """
        try:
            verified_fingerprint = None if self.verifier is None else self.verifier.verify(self.store.directory(key))
            package = self.store.read(key)
            _check_unchanged(package, verified_fingerprint, key)
            model = Model(package, self.provider, self.cores, required=self.required, precision=self.precision)
            model.warm_up(self.warm_up_side)
            golden.verify(package, model)
        except VerificationFailed as failure:
            return _reject(key, str(failure))
        except (PackageError, SessionFailed, ModelFailed, OSError) as error:
            return _reject(key, rejection_reason(key, error))
        _log.info("%s is open on %s, %s (requested: %s)", key, model.provider, model.precision, self.provider)
        if model.run_seconds:
            _log.info("%s, milliseconds for a tile: %s", key, _format_measurements(model))
        if self.precision == "bf16" and model.any_size and model.precision != "bf16":
            _log.warning(
                "%s is computed in %s: bf16 needs onnxruntime-openvino in place of onnxruntime", key, model.precision
            )
        fallback_sentence = describe_fallback(self.provider, model.provider)
        if fallback_sentence is not None:
            _log.warning("%s: %s", key, fallback_sentence)
        return model

    def load_all(self, keys: Collection[str] | None = None) -> Registry:
        """Load every package, one after another: making a session holds the interpreter.

        Args:
            keys: the packages to load, None for all; the others, and files `default`, are as if they were not there.
        Raises:
            ProviderMissing: `required`, and a session does not run on `provider`; the package is not at fault.
        """
        models: dict[str, dict[int, Model]] = {}
        rejected_packages: list[RejectedPackage] = []
        for key in self.store.list_packages() if keys is None else keys:
            outcome = self.load(key)
            if isinstance(outcome, RejectedPackage):
                rejected_packages.append(outcome)
            else:
                models.setdefault(outcome.manifest.name, {})[outcome.manifest.version] = outcome
        default_versions = self.store.default_versions() if keys is None else {}
        return Registry(models, tuple(rejected_packages), default_versions)


def _check_unchanged(package: Package, verified_fingerprint: str | None, key: str) -> None:
    """Raise VerificationFailed if the package has another fingerprint than the one that was verified (None: any)."""
    if verified_fingerprint not in (None, fingerprint(package.manifest)):
        raise VerificationFailed(f"{key} was changed while it was verified")


def _format_measurements(model: Model) -> str:
    """`openvino bf16 12.3, cpu int8 15.0`"""
    measured = sorted(model.run_seconds.items(), key=lambda entry: entry[1])
    return ", ".join(f"{provider} {precision} {1000 * seconds:.1f}" for (provider, precision), seconds in measured)


def _reject(key: str, reason: str) -> RejectedPackage:
    _log.error("%s is not served: %s", key, reason)
    return RejectedPackage(key, reason)
