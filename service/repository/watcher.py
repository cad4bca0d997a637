"""Packages that come, change and go while the service runs.

every few seconds: scan (names, sizes, times) -> what is new and still since the last look -> Opener, in a thread
-> registry, on the event loop -> the next request

Requests under way keep the model that they began with. What is still being copied looks different at each look and is
left for the next; what was refused is looked at again when a file of it changes. A folder that cannot be listed
changes nothing: a volume that is gone for a moment must not retire every model.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from service.model import package
from service.model.providers import ProviderMissing
from service.repository.registry import DEFAULT, Opener, Refusal, Registry, directories, pins

Mark = tuple[tuple[str, int, int, int], ...]  # of each file: name, bytes, time of change in ns, inode

LINGER = 30  # seconds without news after which the verifier's helper is ended

_log = logging.getLogger("service.watch")


class Watcher:
    """Keeps a registry true to its folder; belongs to one event loop.

    Args:
        models: the folder.
        seen: `scan(models)` from before the registry was opened.
        every: seconds between looks.
        changed: called on the loop after each look that changed what is served.
    """

    def __init__(
        self,
        registry: Registry,
        opener: Opener,
        models: Path,
        seen: dict[str, Mark],
        every: float,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._registry, self._opener, self._models = registry, opener, models
        self._done = dict(seen)
        self._before: dict[str, Mark] = dict(seen)
        self._every, self._changed = every, changed
        self._quiet = 0.0  # seconds without news
        self._lost = False

    async def run(self) -> None:
        """Look until cancelled. What goes wrong with one look is logged, and there is another."""
        while True:
            await asyncio.sleep(self._every)
            try:
                await self.look()
            except Exception:  # noqa: BLE001  (a bug in one look must not end all looks)
                _log.exception("a look at the models folder failed; there will be another")

    async def look(self) -> None:
        """One look. A change is acted on when it has stayed the same for two looks, so that copies are complete."""
        try:
            now, pinned = await asyncio.to_thread(lambda: (scan(self._models), pins(self._models)))
        except OSError as error:
            if not self._lost:
                _log.error("the models folder cannot be read (%s); what was served is served on", error.strerror)
            self._lost = True
            return
        self._lost = False
        before, self._before = self._before, now
        news = self._registry.pin(pinned)
        if news:
            self._tell_pins()
        for folder in sorted(set(self._done) - set(now) - set(before)):
            del self._done[folder]
            if self._registry.remove(folder):
                _log.info("%s is retired: its folder is gone", folder)
            news = True
        for folder in sorted(now):
            if now[folder] != self._done.get(folder) and now[folder] == before.get(folder):
                await self._open(folder)
                self._done[folder] = now[folder]
                news = True
        if news:
            self._changed()
        self._rest(news)

    async def _open(self, folder: str) -> None:
        try:
            outcome = await asyncio.to_thread(self._opener.open, self._models / folder)
        except ProviderMissing as missing:
            outcome = Refusal(folder, f"{folder}: {missing}")
            _log.error("%s is not served: %s", folder, missing)
        if isinstance(outcome, Refusal):
            self._registry.refuse(outcome)
        else:
            self._registry.put(outcome)
            name = outcome.manifest.name
            default = self._registry.get(name).manifest.version
            _log.info("%s is served from now on; default of %s is %d", folder, name, default)

    def _tell_pins(self) -> None:
        for name in self._registry.names:
            how = "pinned" if self._registry.pinned(name) else "the highest"
            _log.info("default of %s is %d, %s", name, self._registry.get(name).manifest.version, how)
        for refusal in self._registry.refused:
            if refusal.folder.endswith(f"/{DEFAULT}"):
                _log.error("%s", refusal.reason)

    def _rest(self, news: bool) -> None:
        self._quiet = 0.0 if news else self._quiet + self._every
        if self._quiet > LINGER and self._opener.verifier is not None:
            self._opener.verifier.close()
            self._quiet = 0.0


def scan(models: Path) -> dict[str, Mark]:
    """folder "<name>/<version>" -> what tells that its files are the same as before. Reads no file.

    Raises:
        OSError: the folder itself, or a name's, cannot be listed.
    """
    return {package.folder(path): mark for path in directories(models) if (mark := _mark(path)) is not None}


def _mark(directory: Path) -> Mark | None:
    """None: it went away meanwhile."""
    try:
        files = [(path.name, path.lstat()) for path in sorted(directory.iterdir())]
    except FileNotFoundError:
        return None
    except OSError:  # not allowed to be listed: opening it will say so
        return ()
    return tuple((name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in files)
