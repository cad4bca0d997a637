from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.training.restoration import add_dirt, build_recipe, draw_letters, prepare_pages
from training import train_denoiser
from training.data import patches
from training.errors import DataError
from training.evaluation import denoisers


def test_a_folder_of_noisy_images_goes_with_a_folder_of_clean_ones(tmp_path: Path) -> None:
    for name, images in (("clean", draw_letters(70)), ("noisy", add_dirt(draw_letters(70)))):
        (tmp_path / name).mkdir()
        for n, image in enumerate(images):
            cv2.imwrite(str(tmp_path / name / f"{n}.png"), image)
    data = patches.load(build_recipe(str(tmp_path / "clean"), {"data.noisy": str(tmp_path / "noisy")}))
    assert data.is_paired
    assert data.train.shape[1:] == (32, 32, 2)
    assert len(data.train) == 4 * (70 - len(data.validation) - len(data.test)), "2 x 2 patches cover 48 x 56"
    cv2.imwrite(str(tmp_path / "noisy" / "3.png"), draw_letters(1, 20, 20)[0])
    with pytest.raises(DataError, match=r"1 of 70 pairs differ in size: 3\.png is 56x48, its noisy version 20x20"):
        patches.load(build_recipe(str(tmp_path / "clean"), {"data.noisy": str(tmp_path / "noisy")}))


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "half.npz", clean=draw_letters(4))
    np.savez(tmp_path / "odd.npz", clean=draw_letters(4), noisy=draw_letters(5))
    np.savez(tmp_path / "few.npz", clean=draw_letters(2), noisy=draw_letters(2))
    np.savez(tmp_path / "small.npz", clean=draw_letters(120, 20, 20), noisy=draw_letters(120, 20, 20))
    for name, words in (
        ("half.npz", "must hold the arrays clean and noisy"),
        ("odd.npz", r"clean is uint8 \[4, 48, 56\], noisy uint8 \[5, 48, 56\]"),
        ("few.npz", "too few"),
        ("small.npz", "no image of at least 32 x 32"),
    ):
        with pytest.raises(DataError, match=words):
            patches.load(build_recipe(str(tmp_path / name)))


def test_pages_are_made_once_and_measured_on_the_corpus_and_on_own_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_pages(tmp_path, monkeypatch)
    for source, count, groups in (
        ("pages/mixed", 8, {"coffee", "wrinkled", *patches.SCENE_GROUPS}),
        ("pages/noisy-office", 6, {"coffee", "wrinkled"}),
    ):
        recipe = build_recipe(source, {"data.patch": 64})
        data = patches.load(recipe)
        size = 32 if source == "pages/mixed" else 64  # drawn at the size of a crop
        assert data.train.shape == (count, size, size, 2)
        assert {image.group for image in data.test} - {"own pale pages"} == groups
        assert patches.load(recipe).digest == data.digest
        metrics = dict(denoisers.measure(partial(denoisers.restore, train_denoiser.build(recipe)), data))
        assert metrics["denoising_rmse_without_wrinkled"].value == pytest.approx(metrics["denoising_rmse_coffee"].value)
        assert metrics["unharmed_psnr_worst"].value <= metrics["unharmed_psnr"].value


def test_smooth_patches_are_left_out_where_detail_is_asked_for(tmp_path: Path) -> None:
    textured = np.random.default_rng(0).integers(0, 256, (64, 64 * 20, 3), dtype=np.uint8)
    for name, image in (("busy", textured), ("flat", np.full_like(textured, 90))):
        for split in range(40):  # so that each split gets some
            cv2.imwrite(str(tmp_path / f"{name}{split}.png"), image)
            image = image.copy()
            image[0, 0] += 1
    all_patches, detailed_patches = (
        np.asarray(patches.load(build_recipe(str(tmp_path), {"data.detail": detail})).train) for detail in (0, 15)
    )
    smooth = [np.abs(np.diff(patch.astype(int), axis=1)).mean() < 1 for patch in detailed_patches]
    assert 0.4 < np.mean([np.abs(np.diff(patch.astype(int), axis=1)).mean() < 1 for patch in all_patches]) < 0.6
    assert 0 < np.mean(smooth) < 0.1


def test_pictures_that_give_no_patch_are_counted(tmp_path: Path) -> None:
    for number in range(40):
        side = 20 if number % 4 else 64
        cv2.imwrite(str(tmp_path / f"{number:02}.png"), np.full((side, side), number * 5, np.uint8))
    data = patches.load(build_recipe(str(tmp_path), {"corruption": [{"kind": "gaussian", "level": [0.1, 0.2]}]}))
    small = [remark for remark in data.remarks if "smaller than data.patch = 32" in remark]
    assert small
    kept = 40 - len(data.validation) - len(data.test) - int(small[0].split()[4])
    assert len(data.train) == 4 * kept
    assert f"images: {40 - len(data.validation) - len(data.test)} train" in data.remarks[-1]


def test_noisy_pictures_and_clean_ones_without_a_partner_are_named_or_counted(tmp_path: Path) -> None:
    for name, images in (("clean", draw_letters(70)), ("noisy", add_dirt(draw_letters(70)))):
        (tmp_path / name).mkdir()
        for n, image in enumerate(images):
            cv2.imwrite(str(tmp_path / name / f"{n}.png"), image)
    (tmp_path / "noisy" / "5.png").unlink()
    (tmp_path / "noisy" / "6.png").write_bytes(b"no picture")
    (tmp_path / "noisy" / "extra.png").write_bytes((tmp_path / "noisy" / "7.png").read_bytes())
    changes = {"data.noisy": str(tmp_path / "noisy")}
    with pytest.raises(DataError, match=r"lacks the noisy version of 5\.png"):
        patches.load(build_recipe(str(tmp_path / "clean"), changes))
    data = patches.load(build_recipe(str(tmp_path / "clean"), {**changes, "data.leave_out_damaged": True}))
    text = "; ".join(data.remarks)
    assert "2 without a noisy version that can be read" in text
    assert "1 noisy pictures without a clean version" in text
    assert "read: 68 pictures" in text


def test_pages_of_stacks_are_pictures_of_their_own(tmp_path: Path) -> None:
    pages = draw_letters(80)
    for number in range(20):
        cv2.imwritemulti(str(tmp_path / f"{number}.tif"), list(pages[4 * number : 4 * number + 4]))
    data = patches.load(build_recipe(str(tmp_path), {"corruption": [{"kind": "gaussian", "level": [0.1, 0.2]}]}))
    assert "read: 80 pictures in 20 files, grey" in data.remarks


def test_validation_without_test_is_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), draw_letters(1)[0])
    with pytest.raises(DataError, match=r"both data\.validation and data\.test"):
        patches.load(build_recipe(str(tmp_path), {"data.validation": str(tmp_path)}))
