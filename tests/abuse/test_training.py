"""kill -9 and a full disk while training or exporting: nothing half-written, and a resumed run ends the same.

Each attempt is a process of its own, forked from one that has torch. It is killed by -9 in the middle of the n-th file
that it writes: half of the file is there, and nothing is closed, renamed or cleaned up.
"""

import itertools
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from service.model import package
from service.repository.loader import PackageLoader
from service.repository.store import FolderStore
from tests.service import packages as doubles
from training.engine import checkpoint, loop
from training.errors import DiskError
from training.export import package as export
from training.recipe import Optimization

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["torch._dynamo", "tests.abuse.test_training"])  # the first optimizer imports it anyhow
TRAIN = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
TARGET = torch.tensor([[1.0, -2.0, 0.5]])
EPOCHS = 5


def attempt(work: Callable[[Path], None], folder: Path, killed_at: int = 0, most: int = 0) -> tuple[int | None, str]:
    """Do `work` in a process that is killed at the n-th file (0: never), or on a disk whose files have `most` bytes
    (0: any) -> (exit code, what it said)."""
    said = folder / "said.txt"
    process = FORKS.Process(target=_attempted, args=(work, folder, killed_at, most, said))
    process.start()
    process.join(60)
    return process.exitcode, said.read_text()


def _attempted(work: Callable[[Path], None], folder: Path, killed_at: int, most: int, said: Path) -> None:
    torch.set_num_threads(1)
    files, sync = itertools.count(1), os.fsync

    def killing(descriptor: Any) -> None:
        if next(files) == killed_at:
            with suppress(OSError):  # a folder
                os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        sync(descriptor)

    setattr(os, "fsync", killing)  # noqa: B010
    with said.open("w") as file, redirect_stderr(file), redirect_stdout(file):
        if most:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        try:
            work(folder)
        except DiskError as full:
            file.write(f"{full}\n")
            sys.exit(2)


def train(folder: Path) -> None:
    """A run whose weights depend on every random number; its result is folder/result.pt."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))

    def objective(module: nn.Module, batch: Tensor, progress: float, generator: torch.Generator) -> Tensor:
        noisy = batch + 0.1 * torch.randn(batch.shape, generator=generator)
        return F.mse_loss(module(noisy), batch @ TARGET.T)

    loop.fit(
        module, TRAIN, objective, lambda module: float(F.mse_loss(module(TRAIN), TRAIN @ TARGET.T)),
        Optimization(epochs=EPOCHS, batch_size=16, learning_rate=0.01, ema=0.9, schedule="cosine"),
        generator=torch.Generator().manual_seed(1), file=folder / "c.pt", fingerprint="this", title="test",
    )  # fmt: skip
    torch.save(module.state_dict(), folder / "result.pt")


def write(folder: Path) -> None:
    export.write(folder / "models", *_exported())


def _exported() -> tuple[Any, Any, Any]:
    data = {role: graph.SerializeToString() for role, graph in doubles.image_graphs().items()}
    return doubles.manifest("killed", data), data, {"README.md": b"a card " * 1000, "picture.png": bytes(5000)}


def weights(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = torch.load(folder / "result.pt", weights_only=True)
    return found


def test_a_run_killed_in_every_epoch_ends_with_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    assert attempt(train, whole)[0] == 0
    for _ in range(EPOCHS - 1):
        assert attempt(train, killed, killed_at=2)[0] == -signal.SIGKILL  # one epoch is saved, the next one's half
        assert checkpoint.load(killed / "c.pt", "this") is not None
        assert (killed / "c.pt.part").exists()
    assert attempt(train, killed)[0] == 0
    assert not (killed / "c.pt.part").exists()
    expected, found = weights(whole), weights(killed)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_an_export_killed_at_any_file_leaves_a_whole_package_or_none(tmp_path: Path) -> None:
    codes = []
    for moment in range(1, 20):
        code, _ = attempt(write, tmp_path, killed_at=moment)
        codes.append(code)
        visible = [path.name for path in (tmp_path / "models").iterdir() if not path.name.startswith(".")]
        assert visible in ([], ["killed"])
        registry = PackageLoader(FolderStore(tmp_path / "models"), "cpu").load_all()
        assert not registry.rejected_packages
        assert registry.names == (("killed",) if visible else ())
        if visible:
            break
    assert codes.count(-signal.SIGKILL) >= 6  # graphs, card, picture, manifest, folder, and the one that was too late
    assert package.read(tmp_path / "models" / "killed" / "1")


def test_what_a_killed_export_left_is_swept_away_later(tmp_path: Path) -> None:
    assert attempt(write, tmp_path, killed_at=3)[0] == -signal.SIGKILL
    (left,) = (tmp_path / "models").glob(".writing-*")
    assert attempt(write, tmp_path)[0] == 0
    assert left.exists()  # it might have been somebody at work
    past = time.time() - package.STALE_SECONDS - 1
    os.utime(left, (past, past))
    package._remove_stale_staging(tmp_path / "models")
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["killed"]


def test_a_full_disk_stops_a_run_with_one_line_and_leaves_its_last_checkpoint(tmp_path: Path) -> None:
    assert attempt(train, tmp_path, killed_at=3)[0] == -signal.SIGKILL
    before = (tmp_path / "c.pt").read_bytes()
    code, said = attempt(train, tmp_path, most=1000)
    assert code == 2
    assert said.splitlines()[-1] == (
        f"cannot write the checkpoint {tmp_path}/c.pt: File too large; the one before is untouched"
    )
    assert "Traceback" not in said
    assert (tmp_path / "c.pt").read_bytes() == before
    assert not (tmp_path / "c.pt.part").exists()


@pytest.mark.parametrize("most", [500, 2000, 6000])
def test_a_full_disk_at_an_export_is_one_line_and_leaves_nothing(tmp_path: Path, most: int) -> None:
    code, said = attempt(write, tmp_path, most=most)
    assert code == 2
    assert said == f"cannot write the package to {tmp_path}/models: File too large; nothing was left\n"
    assert list((tmp_path / "models").iterdir()) == []
