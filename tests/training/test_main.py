"""The command line as a user has it: what it leaves, what it says, what it survives."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.model import package
from tests.drawings import drawings, small_recipe, waves
from tests.training.data.sample_files import write_images
from training.__main__ import main
from training.engine import checkpoint as checkpoints


def toml(document: dict[str, Any]) -> str:
    lines = [f"{key} = {json.dumps(value)}" for key, value in document.items() if not isinstance(value, dict)]
    for key, table in document.items():
        if isinstance(table, dict):
            lines += [f"[{key}]", *(f"{k} = {json.dumps(v)}" for k, v in table.items())]
    return "\n".join(lines)


@pytest.fixture
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with drawings.npy, waves.npy and small.toml, as the working directory."""
    monkeypatch.chdir(tmp_path)
    np.save("drawings.npy", drawings(150))
    np.save("waves.npy", waves(150))
    Path("small.toml").write_text(toml(small_recipe("drawings.npy")))
    return tmp_path


def digests(directory: Path) -> dict[str, str]:
    return {role: graph.sha256 for role, graph in package.read(directory).manifest.graphs.items()}


def test_a_recipe_leaves_a_package_with_card_and_pictures(
    working_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["small.toml"]) == 0
    directory = working_folder / "models" / "small" / "1"
    manifest = package.read(directory).manifest
    assert manifest.operations == ("encode", "decode", "reconstruct")
    assert manifest.training is not None
    assert manifest.training.data.licence == "drawn by the tests"
    assert "PCA 6" in manifest.evaluation["reconstruction_mse"].baselines
    card = (directory / "README.md").read_text()
    for picture in ("reconstructions.png", "learning_curve.png", "error_histogram.png", "latent_map.png"):
        assert (directory / picture).read_bytes().startswith(b"\x89PNG")
        assert picture in card
    assert f"{manifest.evaluation['reconstruction_mse'].value:.4g}" in card
    assert "reconstruction_mse" in capsys.readouterr().out
    history = json.loads((working_folder / "runs" / "small" / "history.json").read_text())["training"]
    assert history["validation"][-1] < history["validation"][0]


def test_the_same_recipe_and_seed_give_the_same_numbers_and_another_seed_others(working_folder: Path) -> None:
    assert main(["small.toml"]) == 0
    assert main(["small.toml", "--fresh"]) == 0
    assert main(["small.toml", "--fresh", "--set", "seed=1"]) == 0
    first, second, reseeded = (working_folder / "models" / "small" / str(version) for version in (1, 2, 3))
    assert digests(first) == digests(second)
    assert package.read(first).manifest.evaluation == package.read(second).manifest.evaluation
    assert digests(first) != digests(reseeded)


def test_a_run_killed_with_9_and_started_again_ends_with_the_same_weights(working_folder: Path) -> None:
    long_run = ["small.toml", "--set", "optimization.epochs=60"]
    assert main([*long_run, "--runs", "uninterrupted"]) == 0
    command = [sys.executable, "-m", "training", *long_run, "--runs", "killed"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        checkpoint = working_folder / "killed" / "small" / "checkpoint.pt"
        while not checkpoint.exists() and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "it had ended before it could be killed"
    assert not (working_folder / "models" / "small" / "2").exists()
    assert main([*long_run, "--runs", "killed"]) == 0
    assert digests(working_folder / "models" / "small" / "1") == digests(working_folder / "models" / "small" / "2")


@pytest.mark.parametrize("kind", ["undercomplete", "stacked", "denoising"])
@pytest.mark.parametrize("data", ["drawings.npy", "waves.npy"])
def test_without_a_recipe_data_and_kind_are_enough(working_folder: Path, kind: str, data: str) -> None:
    quick = ["--set", "optimization.epochs=1", "--set", "ablation=[]"]
    if kind == "stacked":
        quick += ["--set", "pretraining.epochs=1", "--set", "architecture.hidden=[32]"]
    if kind == "denoising":
        quick += ["--set", "architecture.channels=[4]"]
    command = ["--data", data, "--kind", kind, "--latent-dim", "5", "--out", "models/mine"]
    assert main([*command, *quick]) == 0
    loaded = package.read(working_folder / "models" / "mine" / "1")
    assert loaded.manifest.kind == kind
    assert loaded.latent is not None
    assert loaded.latent.shape[1:] == (5,)
    assert ("denoise" in loaded.manifest.operations) == (kind == "denoising")


def test_own_data_reach_pca_and_the_recipe_in_the_package_makes_the_model_again(
    working_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (working_folder / "far" / "away").mkdir(parents=True)
    for folder in ("a", "b"):
        write_images(working_folder / "far" / "away" / "pictures" / folder, drawings(60, seed=ord(folder)))
    command = ["--data", "far/away/pictures", "--kind", "stacked", "--latent-dim", "5", "--out", "models/mine"]
    assert main([*command, "--set", "optimization.steps_per_epoch=3"]) == 0
    output = capsys.readouterr()
    assert "settings: dense layers" in output.out
    assert "mine: training for 20 epochs" in output.err
    directory = working_folder / "models" / "mine" / "1"
    first = package.read(directory).manifest
    error = first.evaluation["reconstruction_mse"]
    assert error.value <= error.baselines["PCA 5, clamped"] * 1.002
    assert "nearest_neighbour_accuracy" in first.evaluation
    for name in ("README.md", "recipe.toml", "manifest.json"):
        assert "far" not in (directory / name).read_text().split("/")
        assert "far/away" not in (directory / name).read_text()
    card = (directory / "README.md").read_text()
    assert "\nautoencoder-train models/mine/1/recipe.toml\n" in card
    assert "classes: 2 subfolders (a 60, b 60)" in card
    assert main(["models/mine/1/recipe.toml", "--fresh"]) == 0
    second = package.read(working_folder / "models" / "mine" / "2").manifest
    assert digests(directory) == digests(working_folder / "models" / "mine" / "2")
    assert first.training is not None
    assert second.training is not None
    assert first.training.recipe_sha256 == second.training.recipe_sha256
    assert second.training.data.source == "pictures"


def test_minutes_end_a_run_with_a_package(working_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start = time.monotonic()
    assert main(["small.toml", "--set", "optimization.epochs=100000", "--minutes", "0.05"]) == 0
    assert time.monotonic() - start < 60
    assert re.search(r"small: training for [12] seconds?\n", capsys.readouterr().err)
    assert package.read(working_folder / "models" / "small" / "1")
    pretrained = ["--set", "pretraining.epochs=100000", "--set", "ablation=[{name='one', set={seed=1}}]", "--fresh"]
    assert main(["small.toml", *pretrained, "--set", "optimization.epochs=100000", "--minutes", "0.1"]) == 0
    assert package.read(working_folder / "models" / "small" / "2")


def test_no_minutes_at_all_give_a_package_of_the_start(working_folder: Path) -> None:
    assert main(["small.toml", "--minutes", "0"]) == 0
    assert package.read(working_folder / "models" / "small" / "1").manifest.shortfalls


def test_ablations_are_trained_and_stand_beside_the_result(working_folder: Path) -> None:
    quick = ["--set", 'ablation=[{name="one number", set={"architecture.latent_dim"=1}}]']
    assert main(["small.toml", *quick]) == 0
    metric = package.read(working_folder / "models" / "small" / "1").manifest.evaluation["reconstruction_mse"]
    assert metric.baselines["one number"] > metric.value


def test_the_data_line_can_be_replaced(working_folder: Path) -> None:
    assert main(["small.toml", "--data", "waves.npy"]) == 0
    assert package.read(working_folder / "models" / "small" / "1").modality == "vector"


@pytest.mark.parametrize("further", [[], ["--fresh"], ["--set", "seed=1"]])
def test_a_second_run_of_the_same_name_is_refused_while_the_first_goes_on(
    working_folder: Path, capsys: pytest.CaptureFixture[str], further: list[str]
) -> None:
    command = [sys.executable, "-m", "training", "small.toml", "--set", "optimization.epochs=100000"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    checkpoint = working_folder / "runs" / "small" / "checkpoint.pt"
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            while not checkpoint.exists() and process.poll() is None:
                time.sleep(0.005)
            assert main(["small.toml", *further]) == 2
            sentence = capsys.readouterr().err
            assert sentence.startswith(
                f"autoencoder-train: runs/small is in use by another run (process {process.pid} on "
            )
            assert sentence.count("\n") == 1
            assert checkpoint.exists(), "--fresh removes nothing of a run that goes on"
            assert main(["small.toml", "--runs", "others"]) == 0
        finally:
            process.kill()
    assert main(["small.toml", *further, "--set", "optimization.epochs=2"]) == 0, "the lock died with its process"
    assert package.read(working_folder / "models" / "small" / "2")


@pytest.mark.parametrize("damage", ["cut", "flipped", "another architecture"])
def test_a_damaged_checkpoint_is_one_line_and_fresh_starts_again(
    working_folder: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    assert main(["small.toml"]) == 0
    path = working_folder / "runs" / "small" / "checkpoint.pt"
    data = bytearray(path.read_bytes())
    if damage == "another architecture":
        state = checkpoints.read(path)
        del state["module"][next(iter(state["module"]))]
        checkpoints.save(path, state)
    else:
        data[len(data) // 2] ^= 0x10
        path.write_bytes(data[: len(data) // 2] if damage == "cut" else data)
    capsys.readouterr()
    assert main(["small.toml"]) == 2
    sentence = capsys.readouterr().err
    assert "runs/small/checkpoint.pt is" in sentence
    assert "--fresh" in sentence
    assert sentence.count("\n") == 1
    assert not (working_folder / "models" / "small" / "2").exists()
    assert main(["small.toml", "--fresh"]) == 0


def test_shipped_recipes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert "cats-convolutional" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "give a recipe, or --data and --kind"),
        (["--data", "drawings.npy", "--kind", "stacked"], "give --out models/NAME"),
        (["small.toml", "--kind", "stacked"], "a recipe says its own kind"),
        (["small.toml", "--set", "seed"], "write KEY=VALUE"),
        (["small.toml", "--set", "optimization.epochs=few"], "optimization.epochs: Input should be a valid integer"),
        (["nowhere.toml"], "no recipe 'nowhere.toml'"),
        (["small.toml", "--data", "nowhere"], "no data at nowhere"),
        (["small.toml", "--out", "models/Not a Name"], "'Not a Name' is no name of a model"),
        (["small.toml", "--device", "abacus"], "device abacus"),
    ],
)
def test_what_a_user_can_get_wrong_is_one_line_and_exit_code_2(
    working_folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert not (working_folder / "models").exists()


def test_an_interrupted_run_says_how_to_go_on(
    working_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.train_autoencoder.fit", interrupt)
    assert main(["small.toml"]) == 130
    assert "the same command goes on from the last epoch" in capsys.readouterr().err


def test_a_disk_that_fails_anywhere_is_one_line(
    working_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "scratch.onnx")

    monkeypatch.setattr("training.train_autoencoder.fit", fail)
    assert main(["small.toml"]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message == "autoencoder-train: scratch.onnx: No space left on device; no package was written"
    assert not (working_folder / "models").exists()


def test_a_models_folder_that_cannot_be_written_is_one_line(
    working_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (working_folder / "models").write_text("a file")
    assert main(["small.toml"]) == 2
    assert "cannot write the package" in capsys.readouterr().err


def test_a_model_that_falls_short_says_so_in_the_last_lines_on_the_card_and_in_the_manifest(
    working_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["small.toml", "--set", "optimization.epochs=1", "--set", "optimization.learning_rate=1e-5"]) == 0
    directory = working_folder / "models" / "small" / "1"
    shortfalls = package.read(directory).manifest.shortfalls
    assert shortfalls
    output = capsys.readouterr().out
    assert output.rstrip().splitlines()[-len(shortfalls) :] == [f"- {line}" for line in shortfalls]
    card = (directory / "README.md").read_text()
    assert all(line in card for line in shortfalls)
    assert "150 samples: " in output
    assert "read: 150 pictures, 12x12, grey" in output
    assert "- read: 150 pictures, 12x12, grey" in card
