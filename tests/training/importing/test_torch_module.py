"""Torch modules of the user's, with weights from safetensors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.training.importing.test_denoiser import noisy_picture, refusal, run_import
from training.importing.probes.trial_pictures import draw_pictures

DENOISER = """
import torch
from torch import nn

class Smooth(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, padding_mode="replicate", groups=3, bias=False)
    def forward(self, x):
        return self.conv(x)

class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(1, 8, 4, 4), nn.ConvTranspose2d(8, 1, 4, 4)
    def encode(self, x):
        return self.down(x)
    def decode(self, z):
        return self.up(z)

def build():
    return Smooth()

def build_autoencoder():
    return Autoencoder()

def build_nothing():
    return 1
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    (tmp_path / "smooth.py").write_text(DENOISER)
    return tmp_path / "smooth.py"


def test_a_module_with_weights_becomes_a_package(module: Path, tmp_path: Path) -> None:
    save_file({"conv.weight": torch.full((3, 1, 3, 3), 1 / 9)}, tmp_path / "w.safetensors")
    words = ("--torch", f"{module}:build", "--weights", tmp_path / "w.safetensors", "--input", "3x32x40")
    model, _ = run_import(tmp_path, *words)
    assert model.manifest.imported is not None
    assert set(model.manifest.imported.files) == {"smooth.py", "w.safetensors"}
    assert model.any_size
    assert model.manifest.halo == 1
    clean, noisy = noisy_picture(3, 61, 47)
    padded = np.pad(noisy.astype(float), ((1, 1), (1, 1), (0, 0)), mode="edge")
    mean = sum(padded[y : y + 61, x : x + 47] for y in range(3) for x in range(3)) / 9
    assert np.abs(model.denoise(noisy[None])[0] - mean).max() <= 1
    assert clean.shape == noisy.shape


def test_encode_and_decode_become_two_graphs(module: Path, tmp_path: Path) -> None:
    words = ("--torch", f"{module}:build_autoencoder", "--input", "1x32x32", "--range", "0..1", "--unchecked")
    model, _ = run_import(tmp_path, *words, "--max-pixels", 20_000)
    assert model.manifest.operations == ("encode", "decode")
    assert model.encode(draw_pictures(2, 32, 48, 1)).shape == (2, 8, 8, 12)


@pytest.mark.parametrize(
    ("function", "sentence"),
    [("absent", "has no function absent"), ("build_nothing", "returned int"), ("", "has no function")],
)
def test_what_builds_no_module_is_refused(
    module: Path, function: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sentence in refusal(capsys, tmp_path, "--torch", f"{module}:{function}", "--input", "3x32x32")


def test_weights_that_do_not_fit_are_refused(module: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--torch", f"{module}:build", "--input", "3x32x32", "--weights")
    save_file({"other.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    assert "without conv.weight; with other.weight" in refusal(capsys, tmp_path, *words, tmp_path / "other.safetensors")
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "w.pt")
    assert "is a pickle" in refusal(capsys, tmp_path, *words, tmp_path / "w.pt")
