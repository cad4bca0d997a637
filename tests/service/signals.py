"""Packages `signal` of several versions, written while a service or a watcher runs."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from service.model import golden, package
from service.repository.loader import PackageLoader
from service.repository.store import FolderStore
from service.repository.verifier import Verifier
from service.repository.watcher import Watcher
from tests.service import packages as doubles

MIB = 2**20


ROW = {"inputs": [[1, 2, 3, 4, 5, 6]]}


def write_signal(models: Path, version: int, times: float = 2) -> Path:
    """signal/<version>: its encoder multiplies by `times`; with a golden pair, as every export writes one."""
    graphs = doubles.vector_graphs()
    graphs["encoder"].graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.array(times, np.float32), "two"))
    return write_with_golden(models, "signal", graphs, version=version)


def write_with_golden(models: Path, name: str, graphs: Any, **changes: Any) -> Path:
    data = {role: model.SerializeToString() for role, model in graphs.items()}
    facts = doubles.manifest(name, data, **changes)
    listed, pair = golden.create(package.verify(facts, data, "double"))
    facts = facts.model_copy(update={"golden": listed})
    return package.write(models, facts, data, {"README.md": b"# double\n", listed.file: pair})


class Live:
    """A registry and its watcher, which polls when it is told to."""

    def __init__(self, models: Path, verifier: Verifier | None) -> None:
        store = FolderStore(models)
        snapshot = store.snapshot()
        self.registry = PackageLoader(store, "cpu").load_all()
        self.watcher = Watcher(self.registry, PackageLoader(store, "cpu", verifier=verifier), snapshot, 1)

    def poll(self, times: int = 2) -> None:
        for _ in range(times):
            asyncio.run(self.watcher.poll())

    def encoded(self, version: str | None = None) -> float:
        return float(self.registry.get("signal", version).encode(np.ones((1, 6), np.float32))[0, 0])


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
