"""Denoisers of any size, from files to a package that the service opens."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from service.imaging import tiling
from service.model import package
from service.model.runtime import Model
from tests.training.restoration import add_dirt, build_recipe, draw_letters, recipe_document, write_photographs
from training import train_denoiser
from training.__main__ import main
from training.data import debian_photos, patches
from training.engine.loop import History
from training.errors import ParityError, RecipeError
from training.evaluation import denoisers
from training.export import package as export
from training.export import quantization
from training.train_denoiser import RandomCrops


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
    asked = build_recipe(str(pairs))
    directory = train_denoiser.run(
        asked, patches.load(asked), tmp_path / "models/small", tmp_path / "runs", torch.device("cpu")
    )
    opened = package.read(directory)
    manifest = opened.manifest
    assert manifest.operations == ("denoise",)
    assert manifest.halo == 20
    metric = manifest.evaluation["denoising_rmse"]
    assert metric.value < 0.6 * metric.baselines["noisy"]
    assert {"median background, divided", "adaptive threshold", "non-local means"} <= set(metric.baselines)
    assert "-F image=@scan.png" in (directory / "README.md").read_text()
    assert (directory / "before-after.png").stat().st_size > 10_000
    assert (directory / "failures.png").stat().st_size > 5_000

    model = Model(opened)
    image = add_dirt(draw_letters(3, 200, 150))[..., None][2]
    whole = model.denoise(image[None])[0]
    stitched = np.empty_like(image)
    for tile in tiling.plan(200, 150, (64, 64), manifest.halo, model.strides):
        tile.core(stitched)[...] = tile.inner(model.denoise(tile.cut(image)[None])[0])
    assert np.abs(stitched.astype(int) - whole.astype(int)).max() <= 1


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
    beside = set(evaluation["denoising_psnr_gaussian_25"].baselines) - {"int8"}  # there if it loses little
    assert beside == {"noisy", "8 bits", "non-local means"}
    noisy = evaluation["denoising_psnr_gaussian_25"].baselines["noisy"]
    assert noisy == pytest.approx(20 * np.log10(255 / 25), abs=0.1), "unclipped, as in the literature"


def test_a_denoiser_that_answers_otherwise_than_torch_is_not_written(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = build_recipe(str(pairs), {"optimization.epochs": 1})
    right = Model.denoise
    monkeypatch.setattr(Model, "denoise", lambda self, batch: right(self, batch) ^ 8)
    with pytest.raises(ParityError, match="no package was written"):
        train_denoiser.run(asked, patches.load(asked), tmp_path / "models/small", tmp_path / "r", torch.device("cpu"))
    assert not (tmp_path / "models").exists()


def test_a_run_that_was_broken_off_ends_with_the_same_weights(pairs: Path, tmp_path: Path) -> None:
    asked = build_recipe(str(pairs), {"optimization.epochs": 4, "optimization.ema": 0.9})
    data, cpu = patches.load(asked), torch.device("cpu")
    straight = train_denoiser.train(asked, data, tmp_path / "a", cpu).denoiser.state_dict()

    class Broken(Exception):
        pass

    def breaks(*_: object) -> None:
        raise Broken

    with pytest.MonkeyPatch.context() as patch:
        seen: list[int] = []
        whole = denoisers.restore

        def counted(*given: Any) -> Any:
            seen.append(1)
            if len(seen) > 2 * len(data.validation):
                raise Broken
            return whole(*given)

        patch.setattr(denoisers, "restore", counted)
        with pytest.raises(Broken):
            train_denoiser.train(asked, data, tmp_path / "b", cpu)
    resumed = train_denoiser.train(asked, data, tmp_path / "b", cpu).denoiser.state_dict()
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


# --- views -----------------------------------------------------------------------------------------------


def test_only_what_the_clamp_puts_right_is_free() -> None:
    output, clean = torch.tensor([1.5, 1.5, 0.4, -0.5, -0.5]), torch.tensor([1.0, 0.0, 0.5, 0.0, 1.0])
    assert train_denoiser.excess(output, clean).tolist() == pytest.approx([0, 1.5, -0.1, 0, -1.5])


def test_views_crop_clean_and_noisy_alike() -> None:
    position = np.arange(40 * 40, dtype=np.uint32).reshape(40, 40)
    sample = np.stack([position % 251, position % 251], -1).astype(np.uint8)
    asked = build_recipe("x", {"data.patch": 40, "augmentation": {"flip": True, "quarter_turns": True}})
    views = RandomCrops(asked, paired=True)
    generator = torch.Generator().manual_seed(0)
    clean, noisy = views(torch.from_numpy(np.stack([sample] * 8)), generator)
    assert clean.shape == (8, 1, 32, 32)
    assert torch.equal(clean, noisy)
    assert len({tuple(view.flatten().tolist()) for view in clean}) > 4, "each is turned and cropped on its own"


def test_some_views_are_given_clean_and_some_grey() -> None:
    rng = np.random.default_rng(0)
    batch = torch.from_numpy(rng.integers(60, 200, (200, 32, 32, 3), dtype=np.uint8))
    asked = build_recipe(
        "x",
        {"augmentation": {"clean": 0.25, "grey": 0.5}, "architecture.channels": 3},
        corruption=[{"kind": "gaussian", "level": [0.1, 0.1]}],
    )
    clean, noisy = RandomCrops(asked, paired=False)(batch, torch.Generator().manual_seed(0))
    same = (clean == noisy).flatten(1).all(1)
    grey = (clean[:, :1] == clean).flatten(1).all(1)
    assert same.float().mean().item() == pytest.approx(0.25, abs=0.1)
    assert grey.float().mean().item() == pytest.approx(0.5, abs=0.12)
    assert (noisy[:, :1] == noisy).flatten(1).all(1)[grey].all(), "grey noise on grey"
    files = ((noisy * 255).round() / 255 == noisy).flatten(1).all(1)[~same]
    assert 0.3 < files.float().mean().item() < 0.7, "half of them as a file holds them"


# --- data that cannot be used ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "stacked"}, "unet architecture is for kind denoising"),
        ({"augmentation": {"elastic": 0.1}}, "augmentation.elastic is not for the unet"),
        ({"data.crop": 64}, "must not be larger than data.patch"),
        ({"architecture.decoder_blocks": [1, 1]}, "decoder_blocks one shorter"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        build_recipe("x", changes)


# --- pages -----------------------------------------------------------------------------------------------


# --- measures --------------------------------------------------------------------------------------------


# --- photographs from packages ---------------------------------------------------------------------------


def test_photographs_that_may_be_shown_stand_in_for_test_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, names in (("train", range(8)), ("shown", ["a_by_b-4", "a_by_b-5"])):
        (tmp_path / folder).mkdir()
        for name in names:
            cv2.imwrite(str(tmp_path / folder / f"{name}.png"), np.full((40, 40, 3), 99, np.uint8))
    monkeypatch.setattr(debian_photos, "fetch_photographs", lambda: tmp_path / "train")
    monkeypatch.setattr(debian_photos, "fetch_examples", lambda: tmp_path / "shown")
    held_out = {"data.validation": str(tmp_path / "train"), "data.test": str(tmp_path / "train")}
    architecture = {"type": "unet", "channels": 3, "widths": [8], "encoder_blocks": [1], "decoder_blocks": []}
    data = patches.load(build_recipe("photos/debian", held_out, architecture=architecture))
    assert [image.group for image in data.examples] == ["a by b"]
    assert "a by b" not in {image.group for image in data.test}
    trained = train_denoiser.Trained(
        train_denoiser.build(build_recipe("x", architecture=architecture)), History([1.0], [1.0], 0)
    )
    drawn = train_denoiser.draw(trained, data)
    assert drawn["before-after.png"][1].startswith(b"\x89PNG")


def test_the_losses_are_what_they_say() -> None:
    error = torch.full((2, 1, 4, 4), 0.1)
    error[1] = 0.01
    assert train_denoiser.LOSSES["l1"](error).item() == pytest.approx(0.055)
    assert train_denoiser.LOSSES["mse"](error).item() == pytest.approx(0.00505)
    fainter = error.clone()
    fainter[1] /= 10**0.5  # 10 dB better, of one of two images
    gained = train_denoiser.LOSSES["psnr"](error) - train_denoiser.LOSSES["psnr"](error * 10**-0.5)
    assert gained.item() > (train_denoiser.LOSSES["psnr"](error) - train_denoiser.LOSSES["psnr"](fainter)).item() > 0.05


def test_a_denoiser_is_quantised_as_far_as_the_loss_allows() -> None:
    asked = build_recipe(
        "x", architecture={"type": "unet", "widths": [16, 32], "encoder_blocks": [1, 1], "decoder_blocks": [1]}
    )
    graph = export.denoiser(train_denoiser.build(asked))
    images = [*add_dirt(draw_letters(8, 64, 64))[..., None]]
    exact = quantization.onnx_denoiser(graph)

    def difference(candidate: bytes) -> float:
        served = quantization.onnx_denoiser(candidate)
        return float(np.mean([np.abs(served(image).astype(int) - exact(image)).mean() for image in images]))

    free = quantization.quantize(graph, images, difference, 100.0)
    assert free is not None
    assert b"QuantizeLinear" in free
    assert len(free) < 0.8 * len(graph), "weights take a quarter, at this size the nodes take the rest"
    assert 0 < difference(free) < 2
    strict = quantization.quantize(graph, images, difference, difference(free) * 0.7)
    assert strict is not None
    assert difference(strict) <= difference(free) * 0.7
    assert quantization.quantize(graph, images, difference, -1.0) is None
    odd = images[0][:37, :50]
    assert quantization.onnx_denoiser(free)(odd).shape == odd.shape


def test_a_quantised_package_holds_both_graphs_and_the_numbers_of_both(pairs: Path, tmp_path: Path) -> None:
    asked = build_recipe(str(pairs), {"optimization.epochs": 2}, quantization={"loss": 3, "calibration": 8})
    directory = train_denoiser.run(
        asked, patches.load(asked), tmp_path / "models/small", tmp_path / "runs", torch.device("cpu")
    )
    opened = package.read(directory)
    assert set(opened.graphs) == {"denoiser", "denoiser-int8"}
    assert "int8" in opened.manifest.evaluation["denoising_rmse"].baselines
    assert "| int8 |" in (directory / "README.md").read_text()


def test_of_a_failure_the_part_with_the_largest_error_is_shown() -> None:
    clean = np.full((500, 600, 1), 255, np.uint8)
    restored = clean.copy()
    restored[400:420, 300:330] = 0  # ink that is not there
    restored[10:12, 10:12] = 0
    group, noisy, shown, expected = train_denoiser._worst_part("all", restored, restored, clean)
    assert group == "all"
    assert noisy.shape == shown.shape == expected.shape == (*train_denoiser.PART, 1)
    assert (shown == 0).sum() == 20 * 30
    assert (expected == 255).all()
    small = train_denoiser._worst_part("all", *(image[:30, :40] for image in (restored, restored, clean)))
    assert small[1].shape == (30, 40, 1)
