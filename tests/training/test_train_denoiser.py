"""Denoisers of any size, from files to a package that the service opens."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from service.imaging import tiling
from service.model import package
from service.model.runtime import Model
from tests.training.restoration import (
    add_dirt,
    build_recipe,
    draw_letters,
    prepare_pages,
    recipe_document,
    write_photographs,
)
from training import train_denoiser
from training.__main__ import main
from training.data import patches
from training.errors import ParityError
from training.evaluation import denoisers, restorations


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    clean = draw_letters(120)
    np.savez(tmp_path / "pairs.npz", clean=clean, noisy=add_dirt(clean))
    return tmp_path / "pairs.npz"


# --- from files to a package -----------------------------------------------------------------------------


def test_pairs_become_a_package_that_cleans_better_than_no_model(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.json").write_text(json.dumps(recipe_document("pairs.npz")))
    recipe = build_recipe(str(pairs))
    directory = train_denoiser.run(
        recipe, patches.load(recipe), tmp_path / "models/small", tmp_path / "runs", torch.device("cpu")
    )
    loaded = package.read(directory)
    manifest = loaded.manifest
    assert manifest.operations == ("denoise",)
    assert manifest.halo == 20
    metric = manifest.evaluation["denoising_rmse"]
    assert metric.value < 0.6 * metric.baselines["noisy"]
    assert {"median background, divided", "adaptive threshold", "non-local means"} <= set(metric.baselines)
    assert "-F image=@scan.png" in (directory / "README.md").read_text()
    assert (directory / "before-after.webp").stat().st_size > 10_000
    assert (directory / "failures.webp").stat().st_size > 3_000

    model = Model(loaded)
    image = add_dirt(draw_letters(3, 200, 150))[..., None][2]
    restored = model.denoise(image[None])[0]
    stitched = np.empty_like(image)
    for tile in tiling.plan(200, 150, (64, 64), manifest.halo, model.strides):
        tile.core(stitched)[...] = tile.inner(model.denoise(tile.cut(image)[None])[0])
    assert np.abs(stitched.astype(int) - restored.astype(int)).max() <= 1


def test_the_command_trains_on_a_folder_of_photographs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_photographs(tmp_path / "mine", 60)
    code = main(
        [
            "photos", "--data", "mine", "--out", "models/mine",
            *("--set=data.patch=32", "--set=data.crop=32", "--set=optimization.epochs=2"),
            *("--set=architecture.widths=[8,8]", "--set=architecture.encoder_blocks=[0,1]"),
            "--set=architecture.decoder_blocks=[1]",
        ]
    )  # fmt: skip
    assert code == 0, capsys.readouterr().err
    evaluation = package.read(tmp_path / "models/mine/1").manifest.evaluation
    assert set(evaluation) == {
        f"denoising_psnr_{group}_{sigma}" for group in ("gaussian", "gaussian_grey") for sigma in denoisers.SIGMAS
    }
    baselines = set(evaluation["denoising_psnr_gaussian_25"].baselines) - {"int8"}  # there if it loses little
    assert baselines == {"noisy", "8 bits", "non-local means"}
    noisy = evaluation["denoising_psnr_gaussian_25"].baselines["noisy"]
    assert noisy == pytest.approx(20 * np.log10(255 / 25), abs=0.1), "unclipped, as in the literature"


def test_pages_in_colour_become_a_package_that_names_groups_and_photographs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare_pages(tmp_path, monkeypatch)
    changes = {
        "architecture.channels": 3, "architecture.unshuffle": 1, "optimization.epochs": 2,
        "quantization.loss": 3, "quantization.calibration": 4, "quantization.percentiles": [99.99],
    }  # fmt: skip
    recipe = build_recipe("pages/mixed", changes)
    data = patches.load(recipe)
    directory = train_denoiser.run(recipe, data, tmp_path / "models/pages", tmp_path / "runs", torch.device("cpu"))
    epochs = [line for line in capsys.readouterr().err.splitlines() if "own pages" in line]
    assert len(epochs) == 2
    assert all(
        group in epochs[0] for group in ("coffee ", "wrinkled ", "own figures ", "own colours ", "own dark slides ")
    )
    loaded = package.read(directory)
    assert "denoiser-int8" in loaded.graphs
    assert {"denoising_rmse_coffee", "denoising_rmse_own_figures", "unharmed_psnr"} <= set(loaded.manifest.evaluation)
    card = (directory / "README.md").read_text()
    assert "| source | images | licences | authors |" in card
    assert Model(loaded).denoise(np.zeros((1, 16, 24, 3), np.uint8)).shape == (1, 16, 24, 3)


def test_a_denoiser_that_answers_otherwise_than_torch_is_not_written(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = build_recipe(str(pairs), {"optimization.epochs": 1})
    right = Model.denoise
    monkeypatch.setattr(Model, "denoise", lambda self, batch: right(self, batch) ^ 8)
    with pytest.raises(ParityError, match="no package was written"):
        train_denoiser.run(recipe, patches.load(recipe), tmp_path / "models/small", tmp_path / "r", torch.device("cpu"))
    assert not (tmp_path / "models").exists()


def test_a_run_that_was_broken_off_ends_with_the_same_weights(pairs: Path, tmp_path: Path) -> None:
    recipe = build_recipe(str(pairs), {"optimization.epochs": 4, "optimization.ema": 0.9})
    data, cpu = patches.load(recipe), torch.device("cpu")
    straight = train_denoiser.train(recipe, data, tmp_path / "a", cpu).network.state_dict()

    class Broken(Exception):
        pass

    with pytest.MonkeyPatch.context() as patch:
        calls: list[int] = []
        restore = denoisers.restore

        def break_off(*arguments: Any) -> Any:
            calls.append(1)
            if len(calls) > 2 * len(data.validation):
                raise Broken
            return restore(*arguments)

        patch.setattr(denoisers, "restore", break_off)
        with pytest.raises(Broken):
            train_denoiser.train(recipe, data, tmp_path / "b", cpu)
    resumed = train_denoiser.train(recipe, data, tmp_path / "b", cpu).network.state_dict()
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


def test_a_quantised_package_holds_both_graphs_and_the_numbers_of_both(pairs: Path, tmp_path: Path) -> None:
    recipe = build_recipe(str(pairs), {"optimization.epochs": 2}, quantization={"loss": 3, "calibration": 8})
    directory = train_denoiser.run(
        recipe, patches.load(recipe), tmp_path / "models/small", tmp_path / "runs", torch.device("cpu")
    )
    loaded = package.read(directory)
    assert set(loaded.graphs) == {"denoiser", "denoiser-int8"}
    assert "int8" in loaded.manifest.evaluation["denoising_rmse"].baselines
    assert "| int8 |" in (directory / "README.md").read_text()


def test_of_a_failure_the_part_with_the_largest_error_is_shown() -> None:
    clean = np.full((500, 600, 1), 255, np.uint8)
    restored = clean.copy()
    restored[400:420, 300:330] = 0  # ink that is not there
    restored[10:12, 10:12] = 0
    group, noisy, shown, expected = restorations.crop_worst_part("all", restored, restored, clean)
    assert group == "all"
    assert noisy.shape == shown.shape == expected.shape == (*restorations.FAILURE_SIZE, 1)
    assert (shown == 0).sum() == 20 * 30
    assert (expected == 255).all()
    small = restorations.crop_worst_part("all", *(image[:30, :40] for image in (restored, restored, clean)))
    assert small[1].shape == (30, 40, 1)
