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
from tests.training import fonts as faces
from training import recipe, train_denoiser
from training.__main__ import main
from training.data import debian_photos, patches
from training.data.patches import Whole
from training.engine.loop import History
from training.errors import DataError, ParityError, RecipeError
from training.evaluation import denoisers
from training.export import package as export
from training.export import quantization
from training.recipe import Recipe
from training.synthetic_pages import fonts
from training.train_denoiser import RandomCrops


def letters(count: int, height: int = 48, width: int = 56) -> np.ndarray:
    """Clean pages of a few strokes, uint8 [N,H,W]."""
    rng = np.random.default_rng(0)
    drawn = np.full((count, height, width), 255, np.uint8)
    for image in drawn:
        for _ in range(4):
            x, y = (int(n) for n in rng.integers(4, 40, 2))
            cv2.putText(image, chr(int(rng.integers(97, 123))), (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 0, 1)
    return drawn


def dirty(clean: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.clip(clean * rng.uniform(0.5, 1, (len(clean), 1, 1)) + rng.normal(0, 20, clean.shape), 0, 255).astype(
        np.uint8
    )


def document(source: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": "small",
        "kind": "denoising",
        "description": "Small.",
        "data": {"source": source, "licence": "ours", "patch": 32, "crop": 32},
        "architecture": {"type": "unet", "widths": [8, 12], "encoder_blocks": [0, 1], "decoder_blocks": [1]},
        "optimization": {"optimizer": "muon", "epochs": 12, "batch_size": 8, "learning_rate": 0.01, "loss": "l1"},
        **changes,
    }


def made(source: str, changes: dict[str, Any] | None = None, **sections: Any) -> Recipe:
    return recipe.build(document(source, **sections), changes or {}, "small")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    clean = letters(120)
    np.savez(tmp_path / "pairs.npz", clean=clean, noisy=dirty(clean))
    return tmp_path / "pairs.npz"


def photographs(folder: Path, count: int, channels: int = 3) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(3)
    for n in range(count):
        coarse = rng.integers(0, 256, (5, 6, channels), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{n:03}.png"), cv2.resize(coarse, (50, 44), interpolation=cv2.INTER_CUBIC))
    return folder


# --- from files to a package -----------------------------------------------------------------------------


def test_pairs_become_a_package_that_cleans_better_than_no_model(
    pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.json").write_text(json.dumps(document("pairs.npz")))
    asked = made(str(pairs))
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
    image = dirty(letters(3, 200, 150))[..., None][2]
    whole = model.denoise(image[None])[0]
    stitched = np.empty_like(image)
    for tile in tiling.plan(200, 150, (64, 64), manifest.halo, model.strides):
        tile.core(stitched)[...] = tile.inner(model.denoise(tile.cut(image)[None])[0])
    assert np.abs(stitched.astype(int) - whole.astype(int)).max() <= 1


def test_the_command_trains_on_a_folder_of_photographs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    photographs(tmp_path / "mine", 60)
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
    asked = made(str(pairs), {"optimization.epochs": 1})
    right = Model.denoise
    monkeypatch.setattr(Model, "denoise", lambda self, batch: right(self, batch) ^ 8)
    with pytest.raises(ParityError, match="no package was written"):
        train_denoiser.run(asked, patches.load(asked), tmp_path / "models/small", tmp_path / "r", torch.device("cpu"))
    assert not (tmp_path / "models").exists()


def test_a_run_that_was_broken_off_ends_with_the_same_weights(pairs: Path, tmp_path: Path) -> None:
    asked = made(str(pairs), {"optimization.epochs": 4, "optimization.ema": 0.9})
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
    asked = made("x", {"data.patch": 40, "augmentation": {"flip": True, "quarter_turns": True}})
    views = RandomCrops(asked, paired=True)
    generator = torch.Generator().manual_seed(0)
    clean, noisy = views(torch.from_numpy(np.stack([sample] * 8)), generator)
    assert clean.shape == (8, 1, 32, 32)
    assert torch.equal(clean, noisy)
    assert len({tuple(view.flatten().tolist()) for view in clean}) > 4, "each is turned and cropped on its own"


def test_some_views_are_given_clean_and_some_grey() -> None:
    rng = np.random.default_rng(0)
    batch = torch.from_numpy(rng.integers(60, 200, (200, 32, 32, 3), dtype=np.uint8))
    asked = made(
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


def test_a_folder_of_noisy_images_goes_with_a_folder_of_clean_ones(tmp_path: Path) -> None:
    for name, images in (("clean", letters(70)), ("noisy", dirty(letters(70)))):
        (tmp_path / name).mkdir()
        for n, image in enumerate(images):
            cv2.imwrite(str(tmp_path / name / f"{n}.png"), image)
    data = patches.load(made(str(tmp_path / "clean"), {"data.noisy": str(tmp_path / "noisy")}))
    assert data.paired
    assert data.train.shape[1:] == (32, 32, 2)
    assert len(data.train) == 4 * (70 - len(data.validation) - len(data.test)), "2 x 2 patches cover 48 x 56"
    cv2.imwrite(str(tmp_path / "noisy" / "3.png"), letters(1, 20, 20)[0])
    with pytest.raises(DataError, match=r"3\.png is \(20, 20\), its clean version \(48, 56\)"):
        patches.load(made(str(tmp_path / "clean"), {"data.noisy": str(tmp_path / "noisy")}))


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "half.npz", clean=letters(4))
    np.savez(tmp_path / "odd.npz", clean=letters(4), noisy=letters(5))
    np.savez(tmp_path / "few.npz", clean=letters(2), noisy=letters(2))
    np.savez(tmp_path / "small.npz", clean=letters(120, 20, 20), noisy=letters(120, 20, 20))
    for name, words in (
        ("half.npz", "must hold the arrays clean and noisy"),
        ("odd.npz", r"clean is uint8 \[4, 48, 56\], noisy uint8 \[5, 48, 56\]"),
        ("few.npz", "too few"),
        ("small.npz", "no image of at least 32 x 32"),
    ):
        with pytest.raises(DataError, match=words):
            patches.load(made(str(tmp_path / name)))


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
        made("x", changes)


# --- pages -----------------------------------------------------------------------------------------------


def test_pages_are_made_once_and_measured_on_the_corpus_and_on_own_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = tmp_path / "data" / "noisy-office"
    (office / "train").mkdir(parents=True)
    (office / "train_cleaned").mkdir()
    rows = ["id,folder,split,noise"]
    for n, image in enumerate(letters(12, 80, 90)):
        rows.append(f"{n},train,{('train', 'val', 'test')[n % 3]},{('coffee', 'wrinkled')[n % 2]}")
        cv2.imwrite(str(office / "train_cleaned" / f"{n}.png"), image)
        cv2.imwrite(str(office / "train" / f"{n}.png"), dirty(image[None])[0])
    (office / "index.csv").write_text("\n".join(rows))
    monkeypatch.setenv("AUTOENCODER_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("AUTOENCODER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(patches, "PAGES", {"pages/mixed": 8, "pages/noisy-office": 6})
    monkeypatch.setattr(patches, "OWN_HELD_OUT", 2)
    book = faces.book()
    monkeypatch.setattr(fonts.FontBook, "installed", lambda *_: book)
    for source, count, groups in (
        ("pages/mixed", 8, {"coffee", "wrinkled", "own pages"}),
        ("pages/noisy-office", 6, {"coffee", "wrinkled"}),
    ):
        asked = made(source, {"data.patch": 64})
        data = patches.load(asked)
        assert data.train.shape == (count, 64, 64, 2)
        assert {image.group for image in data.test} == groups
        assert patches.load(asked).digest == data.digest
        metrics = dict(denoisers.measure(train_denoiser.build(asked), data))
        assert metrics["denoising_rmse_without_wrinkled"].value == pytest.approx(metrics["denoising_rmse_coffee"].value)
        assert metrics["unharmed_psnr_worst"].value <= metrics["unharmed_psnr"].value


# --- measures --------------------------------------------------------------------------------------------


def test_restoring_takes_any_size_and_errors_are_what_they_are_called() -> None:
    denoiser = train_denoiser.build(made("x"))
    for height, width in ((1, 1), (1, 37), (13, 7), (32, 32)):
        image = np.full((height, width, 1), 200, np.uint8)
        assert denoisers.restore(denoiser, image).shape == (height, width, 1)
    assert denoisers.mse(np.full((2, 2, 1), 255, np.uint8), np.full((2, 2, 1), 0.5, np.float32)) == pytest.approx(0.25)
    even = Whole("one", "all", np.full((300, 300, 3), 128, np.uint8))
    for sigma, noisy in zip(denoisers.SIGMAS, denoisers.noisy_versions(even), strict=True):
        assert float((noisy * 255).std()) == pytest.approx(sigma, rel=0.01)
        assert np.array_equal(noisy, denoisers.noisy_versions(even)[denoisers.SIGMAS.index(sigma)])


# --- photographs from packages ---------------------------------------------------------------------------


def deb(path: Path, files: dict[str, bytes]) -> Path:
    """An ar archive with data.tar.xz in it, as deb(5) says."""
    import io
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"./{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    out = b"!<arch>\n"
    for name, data in (("debian-binary", b"2.0\n"), ("data.tar.xz", buffer.getvalue())):
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    path.write_bytes(out)
    return path


def test_photographs_are_taken_from_a_package_and_scaled_down(tmp_path: Path) -> None:
    _, jpeg = cv2.imencode(".jpg", np.full((900, 1600, 3), (10, 120, 200), np.uint8))
    one, two = "usr/share/backgrounds/One.jpg", "usr/share/wallpapers/Two/contents/images/2560x1600.jpg"
    archive = deb(tmp_path / "x.deb", {one: jpeg.tobytes(), "usr/other.jpg": b"", two: jpeg.tobytes()})
    source = debian_photos.Source("x.deb", "", {one: ("A", "CC0"), two: ("B", "CC0")})
    debian_photos.unpack(archive, source, tmp_path)
    sizes = {path.name: cv2.imread(str(path)).shape for path in tmp_path.glob("*.png")}  # type: ignore[union-attr]
    assert sizes == {
        f"{name}-{number}.png": (height, width, 3)
        for name in ("One", "Two")
        for number, height, width in ((1, 450, 800), (2, 394, 700), (3, 281, 500), (4, 197, 350))
    }, "halved at least, and to 1400, 1000, 700, 500 and 350 pixels"

    with pytest.raises(DataError, match=r"has no usr/share/backgrounds/Gone\.jpg"):
        debian_photos.unpack(
            archive, debian_photos.Source("x.deb", "", {"usr/share/backgrounds/Gone.jpg": ("", "")}), tmp_path
        )
    (tmp_path / "y.deb").write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match="not a package of Debian"):
        debian_photos.unpack(tmp_path / "y.deb", source, tmp_path)


def test_photographs_that_may_be_shown_stand_in_for_test_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, names in (("train", range(8)), ("shown", ["a_by_b-4", "a_by_b-5"])):
        (tmp_path / folder).mkdir()
        for name in names:
            cv2.imwrite(str(tmp_path / folder / f"{name}.png"), np.full((40, 40, 3), 99, np.uint8))
    monkeypatch.setattr(debian_photos, "photographs", lambda: tmp_path / "train")
    monkeypatch.setattr(debian_photos, "examples", lambda: tmp_path / "shown")
    held_out = {"data.validation": str(tmp_path / "train"), "data.test": str(tmp_path / "train")}
    architecture = {"type": "unet", "channels": 3, "widths": [8], "encoder_blocks": [1], "decoder_blocks": []}
    data = patches.load(made("photos/debian", held_out, architecture=architecture))
    assert [image.group for image in data.examples] == ["a by b"]
    assert "a by b" not in {image.group for image in data.test}
    trained = train_denoiser.Trained(
        train_denoiser.build(made("x", architecture=architecture)), History([1.0], [1.0], 0)
    )
    drawn = train_denoiser.draw(trained, data)
    assert drawn["before-after.png"][1].startswith(b"\x89PNG")


def test_every_photograph_has_an_author_and_a_free_licence() -> None:
    listed = [entry for source in debian_photos.SOURCES for entry in source.photographs.values()]
    assert len(listed) == 34
    assert all(author and licence.startswith(("CC", "GPL", "LGPL")) for author, licence in listed)
    assert "Sander Klootwijk" in debian_photos.licence()


def test_smooth_patches_are_left_out_where_detail_is_asked_for(tmp_path: Path) -> None:
    busy = np.random.default_rng(0).integers(0, 256, (64, 64 * 20, 3), dtype=np.uint8)
    for name, image in (("busy", busy), ("flat", np.full_like(busy, 90))):
        for split in range(40):  # so that each split gets some
            cv2.imwrite(str(tmp_path / f"{name}{split}.png"), image)
            image = image.copy()
            image[0, 0] += 1
    every, chosen = (patches.load(made(str(tmp_path), {"data.detail": detail})).train for detail in (0, 15))
    smooth = [np.abs(np.diff(patch.astype(int), axis=1)).mean() < 1 for patch in chosen]
    assert 0.4 < np.mean([np.abs(np.diff(patch.astype(int), axis=1)).mean() < 1 for patch in every]) < 0.6
    assert 0 < np.mean(smooth) < 0.1


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
    asked = made(
        "x", architecture={"type": "unet", "widths": [16, 32], "encoder_blocks": [1, 1], "decoder_blocks": [1]}
    )
    graph = export.denoiser(train_denoiser.build(asked))
    images = [*dirty(letters(8, 64, 64))[..., None]]
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
    asked = made(str(pairs), {"optimization.epochs": 2}, quantization={"loss": 3, "calibration": 8})
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
