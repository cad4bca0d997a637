"""Fine-tuning by the command: from clean pictures, pairs, two exposures, and noisy pictures alone."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from service.model import package
from service.model.runtime import Model
from tests.training.restoration import write_photographs
from training import fine_tuning
from training.__main__ import main

SMALL = (
    "--set=data.patch=40", "--set=data.crop=32", "--set=architecture.widths=[8,8]",
    "--set=architecture.encoder_blocks=[0,1]", "--set=architecture.decoder_blocks=[1]",
    "--set=optimization.steps_per_epoch=30", "--set=optimization.adamw_learning_rate=0.005", "--set=quantization=none",
)  # fmt: skip


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models/start, a small denoiser of photographs with little training."""
    folder = tmp_path_factory.mktemp("fine-tuning")
    write_photographs(folder / "clean", 40)
    options = ("--data", str(folder / "clean"), "--out", str(folder / "models/start"), "--runs", str(folder / "runs"))
    changes = ("--set=optimization.epochs=4", "--set=optimization.learning_rate=0.01", "--set=optimization.ema=0.9")
    assert main(["photos", *options, *SMALL, *changes, "--set=optimization.schedule=cosine"]) == 0
    return folder


def write_noisy(folder: Path, clean: np.ndarray, seed: int, deviation: float = 20) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    largest = float(np.iinfo(clean.dtype).max)
    for number, image in enumerate(clean):
        noisy = image + rng.normal(0, deviation / 255 * largest, image.shape)
        cv2.imwrite(str(folder / f"{number}.png"), np.rint(noisy.clip(0, largest)).astype(clean.dtype))


def scenes(count: int, channels: int = 3, dtype: str = "uint8") -> np.ndarray:
    rng = np.random.default_rng(5)
    largest = np.iinfo(dtype).max
    return np.stack(
        [
            cv2.resize(rng.uniform(0.2, 0.8, (4, 4, channels)), (72, 64), interpolation=cv2.INTER_LINEAR) * largest
            for _ in range(count)
        ]
    ).astype(dtype)


def tune(start: Path, data: Path, *options: str) -> int:
    return main(
        [
            "photos", "--from", str(start / "models/start"), "--data", str(data),
            "--out", str(data.parent / "models/mine"), "--runs", str(data.parent / "runs"),
            *SMALL, "--set=optimization.learning_rate=0.01", *options,
        ]
    )  # fmt: skip


def test_settings_are_careful_and_the_users_own_stay() -> None:
    changes = {"data": {"source": "mine"}, "optimization.epochs": 3}
    settings = fine_tuning.choose_settings(changes, "photos", Path("models/photos"), Path("mine/"))
    assert settings["optimization.epochs"] == 3
    assert settings["optimization.schedule"] == "cosine"
    assert settings["notes"] == ""
    assert settings["description"] == "photos, trained further on mine, from the weights of photos."


def test_noisy_pictures_alone_make_a_better_denoiser_and_the_card_says_from_what(
    start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clean = scenes(20)
    write_noisy(tmp_path / "mine/noisy", clean, 1)
    assert tune(start, tmp_path / "mine", "--set=optimization.epochs=6") == 0, capsys.readouterr().err
    captured = capsys.readouterr()
    found = re.search(r"noise of about (\d+) of 255", captured.err)
    assert found is not None
    assert 15 <= int(found[1]) <= 23, "20"
    assert "learned from noisy pictures alone" in captured.out
    directory = tmp_path / "models/mine/1"
    loaded = package.read(directory)
    metric = loaded.manifest.evaluation["denoising_rmse_to_noisy"]
    assert metric.value < metric.baselines["start"] < metric.baselines["noisy"]
    training = loaded.manifest.training
    assert training is not None
    assert training.start == "start/1"
    card = (directory / "README.md").read_text()
    assert "The weights of start/1 were the initial ones" in card
    assert "--from models/start/1" in card
    assert "from scratch" not in card
    write_noisy(tmp_path / "others", clean[:6], 2)
    noisy = np.stack([np.asarray(cv2.imread(str(tmp_path / f"others/{n}.png")))[..., ::-1] for n in range(6)])
    errors = [
        np.mean((Model(read, "cpu", precision="fp32").denoise(noisy).astype(float) - clean[:6, ..., ::-1]) ** 2)
        for read in (loaded, package.read(start / "models/start/1"))
    ]
    assert errors[0] < 0.9 * errors[1], "by the truth, which training has not seen"


def test_two_exposures_and_sixteen_bits(start: Path, tmp_path: Path) -> None:
    clean = scenes(16, 1, "uint16")
    write_noisy(tmp_path / "mine/noisy", clean, 1)
    write_noisy(tmp_path / "mine/noisy-2", clean, 2)
    assert tune(start, tmp_path / "mine", "--set=optimization.epochs=2") == 0
    loaded = package.read(tmp_path / "models/mine/1")
    assert loaded.sample.dtype == "uint16"
    assert loaded.manifest.evaluation["denoising_rmse_to_noisy"].value > 0
    pixels = np.repeat(clean[:1, :, :, None], 3, axis=3)
    assert len(np.unique(Model(loaded, "cpu").denoise(pixels))) > 256


def test_sixteen_bit_clean_pictures_get_noise_that_needs_no_8_bits(start: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for number, image in enumerate(scenes(16, 1, "uint16")):
        cv2.imwrite(str(tmp_path / f"mine/{number}.png"), image)
    assert tune(start, tmp_path / "mine", "--set=optimization.epochs=1") == 0
    assert package.read(tmp_path / "models/mine/1").sample.dtype == "uint16"


def test_a_model_no_better_than_its_start_is_said_so_in_the_last_lines_and_on_the_card(
    start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clean = scenes(16)
    write_noisy(tmp_path / "mine/noisy", clean, 1)
    (tmp_path / "mine/clean").mkdir()
    for number, image in enumerate(clean):
        cv2.imwrite(str(tmp_path / f"mine/clean/{number}.png"), image)
    assert tune(start, tmp_path / "mine", "--set=optimization.epochs=1", "--set=optimization.learning_rate=1e-9",
                "--set=optimization.adamw_learning_rate=1e-9") == 0  # fmt: skip
    words = "no better on held-out pictures than the model that it started from"
    assert words in capsys.readouterr().out.splitlines()[-1]
    assert words in (tmp_path / "models/mine/1/README.md").read_text()


def test_errors_are_one_sentence(start: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_noisy(tmp_path / "mine/noisy", scenes(8)[:, :30, :30], 1)
    assert tune(start, tmp_path / "mine") == 2
    assert "holds no image of at least 40 x 40 pixels; lower data.patch and data.crop" in capsys.readouterr().err
    write_noisy(
        tmp_path / "flat/noisy",
        np.full((8, 64, 64, 3), 90, np.uint8) + np.arange(8, dtype=np.uint8)[:, None, None, None],
        1,
        0,
    )
    assert tune(start, tmp_path / "flat") == 2
    assert "no noise is found in the pictures of" in capsys.readouterr().err
    write_noisy(tmp_path / "good/noisy", scenes(8), 1)
    assert main(["photos", "--data", str(tmp_path / "good"), "--out", str(tmp_path / "models/mine"), *SMALL]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert "noisy pictures alone" in errors[-1]
    assert "--from models/photos" in errors[-1]
