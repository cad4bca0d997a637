"""Indexes of neighbours of the packages: beside a package, else inside it.

models/<name>/<version>.neighbours.npz | models/<name>/<version>/neighbours.npz -> read when first asked for -> Index
"""

import threading
from collections import OrderedDict

from service.model.files.plain_files import read_regular
from service.model.measures.neighbours import INDEX_FILE, MAX_BYTES, Index, read_index
from service.repository.store import ModelStore

MAX_OPEN = 8  # indexes in memory; the one that was used longest ago is closed

_State = tuple[str, int, int]  # path, time of the last change, bytes


class NeighbourIndexes:
    """Opens indexes and keeps them until their files change. Its methods may be called from any thread.

    Args:
        store: where the packages lie.
    """

    def __init__(self, store: ModelStore) -> None:
        self._store = store
        self._open: OrderedDict[str, tuple[_State, Index]] = OrderedDict()
        self._lock = threading.Lock()

    def has(self, key: str) -> bool:
        """Whether there is a file; it is not opened."""
        return self._find(key) is not None

    def get(self, key: str, size: int) -> Index | None:
        """The index of a package, None if it has none.

        Args:
            key: "<name>/<version>".
            size: numbers of one latent.
        Raises:
            PackageError: its file is not one.
        """
        state = self._find(key)
        if state is None:
            return None
        with self._lock:
            opened = self._open.get(key)
            if opened is not None and opened[0] == state:
                self._open.move_to_end(key)
                return opened[1]
            path = self._store.directory(key)
            path = path.parent / state[0] if state[0] != INDEX_FILE else path / INDEX_FILE
            index = read_index(read_regular(path, MAX_BYTES, follow_links=False), size, f"the index of {key}")
            self._open[key] = state, index
            while len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)
            return index

    def _find(self, key: str) -> _State | None:
        directory = self._store.directory(key)
        beside = f"{directory.name}.{INDEX_FILE}"
        for name, path in ((beside, directory.parent / beside), (INDEX_FILE, directory / INDEX_FILE)):
            try:
                status = path.lstat()
            except OSError:
                continue
            return name, status.st_mtime_ns, status.st_size
        return None
