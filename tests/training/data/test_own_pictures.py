"""Own pictures for denoisers: which layout a folder has, partners by name, depth, and what is wrong with them."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.training.restoration import build_recipe
from training.data import own_pictures, patches
from training.data.own_pictures import EvaluationImage
from training.errors import DataError
from training.recipe import DenoiserData

RNG = np.random.default_rng(0)


def write(
    folder: Path, count: int, *, dtype: str = "uint8", side: int = 40, suffix: str = ".png", top: int = 255
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = RNG.integers(0, top + 1, (side, side)).astype(dtype)
        assert cv2.imwrite(str(folder / f"{number:02}{suffix}"), pixels)


def load(folder: Path, **settings: object) -> tuple[list[EvaluationImage], own_pictures.Layout, str]:
    data = DenoiserData.model_validate({"source": str(folder), **settings})
    noisy = Path(data.noisy) if data.noisy else None
    layout = own_pictures.find_layout(data, folder, noisy)
    remarks: list[str] = []
    return own_pictures.load(layout, data, 1, remarks), layout, "; ".join(remarks)


def test_subfolders_say_what_is_learned_from(tmp_path: Path) -> None:
    for name in ("plain/a", "pairs/clean", "pairs/noisy", "twice/noisy", "twice/noisy-2", "alone/noisy"):
        write(tmp_path / name, 4)
    for name, content, has_partner, words in (
        ("plain", "clean", False, "read: 4 pictures in 4 files, grey"),
        ("pairs", "clean", True, "read: 4 pictures"),
        ("twice", "noisy", True, "two noisy exposures of each scene: noisy/ and noisy-2/"),
        ("alone", "noisy", False, "noisy pictures alone: noisy/"),
    ):
        images, layout, remarks = load(tmp_path / name)
        assert layout.content == content
        assert [image.noisy is not None for image in images] == [has_partner] * 4
        assert words in remarks
    images, layout, _ = load(tmp_path / "plain", content="noisy")
    assert layout.content == "noisy"


def test_folders_that_fit_no_layout_are_refused_with_their_names(tmp_path: Path) -> None:
    for name in ("odd/noisy", "odd/dirty", "both/noisy", "both/noisy-2", "both/clean"):
        write(tmp_path / name, 1)
    with pytest.raises(DataError, match="noisy, dirty; beside noisy/ only clean/ or noisy-2/"):
        load(tmp_path / "odd")
    with pytest.raises(DataError, match="need only one of them"):
        load(tmp_path / "both")
    write(tmp_path / "loose/noisy", 4)
    write(tmp_path / "loose", 2)
    with pytest.raises(DataError, match=r"2 pictures beside the folder noisy/ \(00\.png, 01\.png\)"):
        load(tmp_path / "loose")


def test_partners_may_differ_in_suffix_and_missing_ones_are_named_and_counted(tmp_path: Path) -> None:
    write(tmp_path / "mine/clean", 5)
    write(tmp_path / "mine/noisy", 7, suffix=".tif")
    (tmp_path / "mine/noisy/01.tif").unlink()
    (tmp_path / "mine/noisy/03.tif").unlink()
    with pytest.raises(DataError, match=r"lacks the noisy version of 01\.png, 03\.png \(2 of 5\)"):
        load(tmp_path / "mine")
    images, _, remarks = load(tmp_path / "mine", leave_out_damaged=True)
    assert [image.name for image in images] == ["00", "02", "04"]
    assert "2 noisy pictures without a clean version (05.tif, 06.tif)" in remarks
    assert "2 without a noisy version" in remarks


def test_all_pairs_of_different_sizes_are_counted_in_one_sentence(tmp_path: Path) -> None:
    write(tmp_path / "mine/clean", 5)
    write(tmp_path / "mine/noisy", 5)
    write(tmp_path / "mine/noisy", 2, side=30)
    with pytest.raises(DataError, match=r"2 of 5 pairs differ in size: 00\.png is 40x40, its noisy version 30x30, 01"):
        load(tmp_path / "mine")


def test_the_same_picture_twice_is_no_pair(tmp_path: Path) -> None:
    for name in ("noisy", "noisy-2"):
        write(tmp_path / "mine" / name, 3)
    (tmp_path / "mine/noisy-2/01.png").write_bytes((tmp_path / "mine/noisy/01.png").read_bytes())
    with pytest.raises(DataError, match=r"1 of 3 pairs are the same picture twice \(01\): from noisy/ and noisy-2/"):
        load(tmp_path / "mine")


def test_sixteen_bits_stay_and_a_pair_has_one_white(tmp_path: Path) -> None:
    write(tmp_path / "mine/noisy", 4, dtype="uint16", top=1500)  # 12 bits by its values
    (tmp_path / "mine/clean").mkdir()
    for number in range(4):
        noisy = np.asarray(cv2.imread(str(tmp_path / f"mine/noisy/{number:02}.png"), cv2.IMREAD_UNCHANGED))
        cv2.imwrite(str(tmp_path / f"mine/clean/{number:02}.png"), noisy // 2)  # 10 bits by its values
    images, _, remarks = load(tmp_path / "mine")
    assert "16 bits" in remarks
    for image in images:
        assert image.noisy is not None
        assert image.clean.dtype == image.noisy.dtype == np.uint16
        assert len(np.unique(image.noisy)) > 256
        ratio = image.clean.astype(float).mean() / image.noisy.astype(float).mean()
        assert ratio == pytest.approx(0.5, abs=0.01), "half as bright, as the files are"
    fixed, _, _ = load(tmp_path / "mine", white=3000)
    assert np.asarray(fixed[0].noisy).max() == pytest.approx(65_535 / 2, rel=0.01)
    eight, _, remarks = load(tmp_path / "mine", bits=8)
    assert eight[0].clean.dtype == np.uint8
    assert "16 bits" not in remarks


def test_a_handful_of_pictures_is_split_and_two_are_too_few(tmp_path: Path) -> None:
    write(tmp_path / "few", 2)
    write(tmp_path / "handful", 4)
    corruption = {"corruption": [{"kind": "gaussian", "level": [0.1, 0.2]}]}
    with pytest.raises(DataError, match=r"2 images .* are too few: 4 are needed at least"):
        patches.load(build_recipe(str(tmp_path / "few"), corruption))
    data = patches.load(build_recipe(str(tmp_path / "handful"), corruption))
    assert (len(data.train) > 0, len(data.validation), len(data.test)) == (True, 1, 1)
