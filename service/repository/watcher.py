"""Package watcher: adds, replaces and retires models while the service runs.

every few seconds: store.snapshot -> packages that changed and are stable since the last poll -> PackageLoader, in a
thread -> registry, on the event loop -> the next request

Requests under way keep the model that they began with. A package that is still being copied differs at each poll and
is left for the next one. A rejected package is loaded again when a file of it changes. A store that cannot be listed
changes nothing: a volume that is away for a moment must not retire every model.
"""

import asyncio
import logging
from collections.abc import Callable

from service.model.providers import ProviderMissing
from service.repository.layout import FileSnapshot
from service.repository.loader import PackageLoader
from service.repository.registry import DEFAULT, Registry, RejectedPackage

LINGER = 30  # seconds without a change after which the verifier's process is ended

_log = logging.getLogger("service.watch")


class Watcher:
    """Keeps a registry equal to the store of its loader; belongs to one event loop.

    Args:
        snapshot: `store.snapshot()` from before the registry was loaded.
        interval: seconds between polls.
        on_change: called on the loop after each poll that changed what is served.
    """

    def __init__(
        self,
        registry: Registry,
        loader: PackageLoader,
        snapshot: dict[str, FileSnapshot],
        interval: float,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._registry, self._loader, self._store = registry, loader, loader.store
        self._loaded_snapshots = dict(snapshot)  # the state in which each package was last loaded
        self._previous_snapshots = dict(snapshot)  # the state at the last poll
        self._interval, self._on_change = interval, on_change
        self._quiet_seconds = 0.0  # without a change
        self._is_store_missing = False

    async def run(self) -> None:
        """Poll until cancelled. A poll that fails is logged, and there is another."""
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self.poll()
            except Exception:  # noqa: BLE001  (a bug in one poll must not end all polls)
                _log.exception("a poll of the models folder failed; there will be another")

    async def poll(self) -> None:
        """Compare once. A change is acted on when it has stayed the same for two polls, so that copies are complete."""
        store = self._store
        try:
            snapshots, defaults = await asyncio.to_thread(lambda: (store.snapshot(), store.default_versions()))
        except OSError as error:
            if not self._is_store_missing:
                _log.error("the models folder cannot be read (%s); what was served is served on", error.strerror)
            self._is_store_missing = True
            return
        self._is_store_missing = False
        previous_snapshots, self._previous_snapshots = self._previous_snapshots, snapshots
        has_changed = self._registry.set_default_versions(defaults)
        if has_changed:
            self._log_default_versions()
        for key in sorted(set(self._loaded_snapshots) - set(snapshots) - set(previous_snapshots)):
            del self._loaded_snapshots[key]
            if self._registry.remove(key):
                _log.info("%s is retired: its folder was removed", key)
            has_changed = True
        for key in sorted(snapshots):
            if snapshots[key] != self._loaded_snapshots.get(key) and snapshots[key] == previous_snapshots.get(key):
                await self._load(key)
                self._loaded_snapshots[key] = snapshots[key]
                has_changed = True
        if has_changed:
            self._on_change()
        self._end_idle_verifier(has_changed)

    async def _load(self, key: str) -> None:
        try:
            outcome = await asyncio.to_thread(self._loader.load, key)
        except ProviderMissing as error:
            outcome = RejectedPackage(key, f"{key}: {error}")
            _log.error("%s is not served: %s", key, error)
        if isinstance(outcome, RejectedPackage):
            self._registry.reject(outcome)
        else:
            self._registry.add(outcome)
            name = outcome.manifest.name
            default = self._registry.get(name).manifest.version
            _log.info("%s is served from now on; default of %s is %d", key, name, default)

    def _log_default_versions(self) -> None:
        for name in self._registry.names:
            reason = "pinned" if self._registry.is_pinned(name) else "the highest"
            _log.info("default of %s is %d, %s", name, self._registry.get(name).manifest.version, reason)
        for package in self._registry.rejected_packages:
            if package.key.endswith(f"/{DEFAULT}"):
                _log.error("%s", package.reason)

    def _end_idle_verifier(self, has_changed: bool) -> None:
        self._quiet_seconds = 0.0 if has_changed else self._quiet_seconds + self._interval
        if self._quiet_seconds > LINGER and self._loader.verifier is not None:
            self._loader.verifier.close()
            self._quiet_seconds = 0.0
