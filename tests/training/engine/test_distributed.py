"""Several processes train as one does: the same batches, the same noise, the same learning curve."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.drawings import drawings, small_recipe
from tests.training.test_main import toml
from training import train_autoencoder
from training.__main__ import main
from training.data import datasets
from training.engine import distributed
from training.recipe import load_autoencoder

TOLERANCE = 1e-4  # of an epoch's error: sums in another order


@pytest.fixture
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with noisy.toml, a recipe whose last batch cannot be shared evenly, as the working directory."""
    monkeypatch.chdir(tmp_path)
    np.save("drawings.npy", drawings(150))
    document = toml(small_recipe("drawings.npy", name="noisy", kind="denoising", augmentation={"flip": True}))
    Path("noisy.toml").write_text(document + '\n[[corruption]]\nkind = "gaussian"\nlevel = [0.1, 0.5]\n')
    return tmp_path


def torchrun(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *command]
    return subprocess.run(start, env=environment, capture_output=True, text=True, timeout=100, check=False)


def learned(folder: str, seed: int = 0) -> NDArray[np.float64]:
    """[2, epochs]: loss and validation error of noisy.toml, trained in this process from the checkpoint in `folder`."""
    recipe = load_autoencoder("noisy.toml", {"seed": seed})
    history = train_autoencoder.train(recipe, datasets.load(recipe.data), Path(folder), torch.device("cpu")).history
    return np.array([history.loss, history.validation])


def test_two_processes_that_broke_off_and_one_that_went_on_learn_what_one_does(
    working_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broke_off = torchrun("-m", "tests.training.interrupted_run", "noisy.toml", "--runs", "two", "--device", "cpu")
    assert "interrupted; the same command goes on" in broke_off.stderr, broke_off.stderr
    single, double = learned("one"), learned("two/noisy")
    assert "resuming after epoch 2 of 4" in capsys.readouterr().err
    np.testing.assert_allclose(double, single, rtol=TOLERANCE)
    assert np.abs(learned("other", seed=1) / single - 1).max() > 100 * TOLERANCE, "the tolerance would pass anything"


def test_two_processes_write_one_package_and_say_it_once(working_folder: Path) -> None:
    ran = torchrun("-m", "training", "noisy.toml", "--device", "cpu")
    assert ran.returncode == 0, ran.stderr
    assert [path.name for path in Path("models/noisy").iterdir()] == ["1"]
    assert ran.stdout.count("Serve it with") == 1
    assert ran.stderr.count("4 epochs done") == 1


def test_a_batch_that_cannot_be_shared_evenly_is_refused(
    working_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    assert main(["noisy.toml"]) == 2
    assert capsys.readouterr().err == (
        "autoencoder-train: optimization.batch_size is 32, which 3 processes cannot share evenly; "
        "choose another --nproc-per-node, or --set optimization.batch_size=33\n"
    )


def test_classify_is_for_one_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "this")
    monkeypatch.setenv("RANK", "0")
    assert main(["classify", "digits-basic"]) == 2
    assert capsys.readouterr().err == "autoencoder-train: classify trains in one process; run it without torchrun\n"
