"""Torch modules of the user's, with weights from safetensors."""

import sys
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

class Linear(nn.Module):
    # a linear layer behind convolutions: of one size, whatever an exporter says
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.Flatten(), nn.Linear(4 * 14 * 14, 6))
        self.back = nn.Sequential(nn.Linear(6, 28 * 28), nn.Sigmoid())
    def encode(self, x):
        return self.body(x)
    def decode(self, z):
        return self.back(z).view(-1, 1, 28, 28)

class Skips(Smooth):
    # a U-Net, whose encoder passes several tensors to its decoder
    def __init__(self):
        super().__init__()
        self.encoder = nn.ModuleList([nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 2, 2)])
        self.decoder = nn.ModuleList([nn.ConvTranspose2d(4, 4, 2, 2), nn.Conv2d(4, 3, 1)])
        nn.init.constant_(self.conv.weight, 1 / 9)
    def forward(self, x):
        skip = self.encoder[0](x)
        return self.conv(x) + 0.01 * self.decoder[1](skip + self.decoder[0](self.encoder[1](skip)))

class Flat(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(64, 4), nn.Linear(4, 64)
    def forward(self, x):
        return self.decoder(self.encoder(x.flatten(1)))

class Dropped(Smooth):
    def forward(self, x):
        return nn.functional.dropout(self.conv(x), 0.5, training=True)

class Branch(Smooth):
    def forward(self, x):
        return self.conv(x) if x.mean() > 0.5 else x

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False)
        self.decoder.weight = self.encoder.weight

instance = Smooth()

def leave():
    raise SystemExit(3)

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
    [("absent", "has no function absent"), ("build_nothing", "returned int"), ("", "write module.py:build")],
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


def smooth_weights(path: Path, prefix: str = "") -> Path:
    save_file({f"{prefix}conv.weight": torch.full((3, 1, 3, 3), 1 / 9)}, path)
    return path


@pytest.mark.parametrize("prefix", ["module.", "net._orig_mod."])
def test_a_prefix_of_all_names_is_left_out(module: Path, prefix: str, tmp_path: Path) -> None:
    weights = smooth_weights(tmp_path / "w.safetensors", prefix)
    model, card = run_import(tmp_path, "--torch", f"{module}:build", "--weights", weights, "--input", "3x32x40")
    assert f"w.safetensors: '{prefix}' was left out" in card
    assert model.manifest.halo == 1


def test_tied_weights_stand_in_the_file_once(module: Path, tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    save_file({"encoder.weight": torch.eye(8)}, weights)
    model, _ = run_import(tmp_path, "--torch", f"{module}:Tied", "--weights", weights, "--input", "8")
    vectors = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    np.testing.assert_allclose(model.decode(model.encode(vectors)), vectors, atol=1e-6)


def test_a_linear_layer_keeps_the_size_that_was_stated(module: Path, tmp_path: Path) -> None:
    words = ("--torch", f"{module}:Linear", "--input", "1x28x28", "--range", "0..1", "--unchecked")
    model, card = run_import(tmp_path, *words)
    assert "takes pictures of 28x28" in card
    assert model.encode(draw_pictures(3, 28, 28, 1)).shape == (3, 6)


def test_a_u_net_with_an_encoder_and_a_decoder_is_a_denoiser(module: Path, tmp_path: Path) -> None:
    model, card = run_import(tmp_path, "--torch", f"{module}:Skips", "--input", "3x32x40")
    assert "the whole module was imported, by forward" in card
    assert model.manifest.operations == ("denoise",)


@pytest.mark.parametrize("is_marked", [True, False])
def test_a_file_of_a_package_may_import_its_neighbours(is_marked: bool, tmp_path: Path) -> None:
    package = tmp_path / f"networks_{is_marked}"
    package.mkdir()
    (package / "layers.py").write_text(DENOISER)
    (package / "network.py").write_text("from .layers import build")
    if is_marked:
        (package / "__init__.py").touch()
    weights = smooth_weights(tmp_path / "w.safetensors")
    words = ("--torch", f"{package / 'network.py'}:build", "--weights", weights, "--input", "3x32x40")
    model, _ = run_import(tmp_path, *words)
    assert model.manifest.imported is not None
    assert set(model.manifest.imported.files) == {"network.py", "w.safetensors"}


def test_a_dotted_name_is_found_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "current_folder_net.py").write_text(DENOISER)
    monkeypatch.chdir(tmp_path)
    weights = smooth_weights(tmp_path / "w.safetensors")
    words = ("--torch", "current_folder_net:instance", "--weights", weights, "--input", "3x32x40")
    assert run_import(tmp_path, *words)[0].manifest.halo == 1


def test_a_file_named_as_a_module_that_is_loaded_does_not_replace_it(module: Path, tmp_path: Path) -> None:
    loaded = sys.modules["json"]
    (tmp_path / "json.py").write_text(DENOISER)
    weights = smooth_weights(tmp_path / "w.safetensors")
    run_import(tmp_path, "--torch", f"{tmp_path / 'json.py'}:build", "--weights", weights, "--input", "3x32x40")
    assert sys.modules["json"] is loaded


@pytest.mark.parametrize(
    ("function", "shape", "sentence"),
    [
        ("leave", "3x32x32", "leave failed: SystemExit: 3"),
        ("Flat", "1x8x8", "it takes vectors: give --input 64"),
        ("Dropped", "3x32x32", "answers differently each time"),
        ("Branch", "3x32x32", "cannot be exported to ONNX"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line(
    module: Path, function: str, shape: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refusal(capsys, tmp_path, "--torch", f"{module}:{function}", "--input", shape)
    assert sentence in line
    assert "\x1b" not in line
    assert "None" not in line
