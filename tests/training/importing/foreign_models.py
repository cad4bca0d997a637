"""Networks of others from their public definitions, small, quickly trained, exported as their authors do.

DnCNN (Zhang et al., IEEE TIP 2017), FFDNet (Zhang et al., IEEE TIP 2018), a U-Net with GroupNorm and attention (as in
diffusion models), a VAE with mean and log-variance.
"""

import json
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from tests import vaes
from tests.drawings import drawings
from training.importing.probes.trial_pictures import draw_pictures
from training.importing.saelens import CONFIG, TENSORS, WEIGHTS


class DnCnn(nn.Module):
    """Noise predicted by plain convolutions, and subtracted."""

    def __init__(self, channels: int = 1, width: int = 16, depth: int = 5) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        self.dncnn = nn.Sequential(*layers, nn.Conv2d(width, channels, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        noise: Tensor = self.dncnn(x)
        return x - noise


class FfdNet(nn.Module):
    """Pixels unshuffled by 2, a map of the noise's strength beside them."""

    def __init__(self, channels: int = 3, width: int = 24) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv2d(4 * channels + 1, width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(width, 4 * channels, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        x = F.pad(x, (0, width % 2, 0, height % 2), mode="replicate")
        down = F.pixel_unshuffle(x, 2)
        noise_map = sigma.expand(x.shape[0], 1, down.shape[-2], down.shape[-1])
        output = F.pixel_shuffle(self.model(torch.cat([down, noise_map], 1)), 2)
        return output[..., :height, :width]


class DruNet(nn.Module):
    """The noise map is a channel of the input; two levels, sizes must be multiples of 4."""

    def __init__(self, channels: int = 3, width: int = 16) -> None:
        super().__init__()
        self.head = nn.Conv2d(channels + 1, width, 3, padding=1, bias=False)
        self.down = nn.ModuleList(nn.Conv2d(width, width, 2, 2, bias=False) for _ in range(2))
        self.up = nn.ModuleList(nn.ConvTranspose2d(width, width, 2, 2, bias=False) for _ in range(2))
        self.tail = nn.Conv2d(width, channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        levels = [self.head(x)]
        for down in self.down:
            levels.append(torch.relu(down(levels[-1])))
        y = levels.pop()
        for up in self.up:
            y = up(y) + levels.pop()
        output: Tensor = self.tail(y)
        return output


class AttentionUnet(nn.Module):
    """GroupNorm and, at the lower level, attention over all of the image."""

    def __init__(self, channels: int = 1, width: int = 8) -> None:
        super().__init__()
        self.head = nn.Conv2d(channels, width, 3, padding=1)
        self.norm = nn.GroupNorm(2, width)
        self.down = nn.Conv2d(width, width, 4, 4)
        self.query, self.key, self.value = (nn.Conv2d(width, width, 1) for _ in range(3))
        self.up = nn.Upsample(scale_factor=4, mode="nearest")
        self.tail = nn.Conv2d(width, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.silu(self.norm(self.head(x)))
        low = self.down(y)
        query, key, value = (layer(low).flatten(2) for layer in (self.query, self.key, self.value))
        weights = torch.softmax(query.transpose(1, 2) @ key / low.shape[1] ** 0.5, dim=-1)
        low = low + (value @ weights.transpose(1, 2)).reshape(low.shape)
        output: Tensor = x + self.tail(y + self.up(low))
        return output


class VaeEncoder(nn.Module):
    """Mean and logarithm of the variance, as two outputs."""

    def __init__(self, channels: int = 1, latent: int = 8, side: int = 28) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 16, 4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * (side // 2) ** 2, 64), nn.ReLU()
        )
        self.mean, self.log_variance = nn.Linear(64, latent), nn.Linear(64, latent)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.body(x)
        return self.mean(hidden), self.log_variance(hidden)


class VaeDecoder(nn.Module):
    def __init__(self, channels: int = 1, latent: int = 8, side: int = 28) -> None:
        super().__init__()
        self.side, self.channels = side, channels
        self.body = nn.Sequential(nn.Linear(latent, 64), nn.ReLU(), nn.Linear(64, channels * side**2), nn.Sigmoid())

    def forward(self, z: Tensor) -> Tensor:
        output: Tensor = self.body(z).view(-1, self.channels, self.side, self.side)
        return output


class ConvolutionalVae(nn.Module):
    """Of any size: half as many pixels a side, twice, and mean and log-variance in one output of 8 channels."""

    def __init__(self, channels: int = 3, latent: int = 4) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(channels, 16, 3, 2, 1), nn.SiLU(), nn.Conv2d(16, 2 * latent, 3, 2, 1))
        self.decoder = nn.Sequential(
            nn.Conv2d(latent, 16, 3, padding=1), nn.SiLU(), nn.Upsample(scale_factor=2.0),
            nn.Conv2d(16, 16, 3, padding=1), nn.SiLU(), nn.Upsample(scale_factor=2.0),
            nn.Conv2d(16, channels, 3, padding=1),
        )  # fmt: skip


Scale = Callable[[Tensor], Tensor]


def fit(module: nn.Module, loss: Callable[[torch.Generator], Tensor], steps: int) -> nn.Module:
    """The module in eval mode after so many steps of Adam."""
    optimizer = torch.optim.Adam(module.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(0)
    module.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss(generator).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return module.eval()


def train_denoiser(
    module: nn.Module, channels: int, scale: Scale = lambda x: x, extra: Sequence[Tensor] = (), steps: int = 150
) -> nn.Module:
    """Fit to gaussian noise of sigma 25; `scale` brings pixels of 0..1 [N,C,H,W] to the module's range."""
    pictures = torch.from_numpy(draw_pictures(24, 32, 32, channels, seed=11)).permute(0, 3, 1, 2) / 255
    clean = scale(pictures)
    spread = (scale(torch.ones(1, channels, 1, 1)) - scale(torch.zeros(1, channels, 1, 1))).mean()

    def loss(generator: torch.Generator) -> Tensor:
        noise = torch.randn(clean.shape, generator=generator) * (25 / 255) * spread
        return F.mse_loss(module(clean + noise, *extra) / spread, clean / spread)

    torch.manual_seed(0)
    return fit(module, loss, steps)


@cache
def dncnn(channels: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return train_denoiser(DnCnn(channels), channels)


@cache
def vae() -> tuple[VaeEncoder, VaeDecoder]:
    """Trained on drawings of 28x28 in 0..1."""
    torch.manual_seed(0)
    encoder, decoder = VaeEncoder(), VaeDecoder()
    images = torch.from_numpy(drawings(200, size=28))[:, None] / 255
    both = nn.ModuleList([encoder, decoder])
    fit(both, lambda _: F.mse_loss(decoder(encoder(images)[0]), images), 120)
    return encoder, decoder


@cache
def convolutional_vae() -> ConvolutionalVae:
    """Trained on pictures in -1..1."""
    torch.manual_seed(0)
    module = ConvolutionalVae()
    images = torch.from_numpy(draw_pictures(24, 32, 32, 3, seed=4)).permute(0, 3, 1, 2) / 127.5 - 1
    fit(module, lambda _: F.mse_loss(module.decoder(module.encoder(images)[:, :4]), images), 200)
    return module


def export(
    module: nn.Module,
    path: Path,
    examples: Sequence[Tensor],
    *,
    names: Sequence[str] = ("input",),
    outputs: Sequence[str] = ("output",),
    axes: dict[str, dict[int, str]] | None = None,
    opset: int = 17,
    **options: Any,
) -> Path:
    """The older exporter of torch.onnx, which wrote nearly all files that people have."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(), tuple(examples), str(path), input_names=list(names), output_names=list(outputs),
            dynamic_axes=axes, opset_version=opset, dynamo=False, **options,
        )  # fmt: skip
    return path


ANY_SIZE = {"input": {0: "n", 2: "h", 3: "w"}, "output": {0: "n", 2: "h", 3: "w"}}


def save_pictures(folder: Path, count: int, channels: int, side: int = 72) -> Path:
    import cv2

    folder.mkdir(parents=True, exist_ok=True)
    for index, picture in enumerate(draw_pictures(count, side, side + 8, channels, seed=21)):
        cv2.imwrite(str(folder / f"{index:03}.png"), picture[..., ::-1] if channels == 3 else picture)
    return folder


def save_drawings(path: Path, count: int = 120) -> Path:
    np.save(path, drawings(count, seed=3, size=28)[..., None])
    return path


MODULE = """from torch import nn

def build():
    return nn.Conv2d(3, 3, 3, padding=1, padding_mode="replicate", groups=3, bias=False)
"""


def write_examples(folder: Path) -> None:
    """The files that docs/import.md names."""
    export(dncnn(3), folder / "denoiser.onnx", [torch.rand(1, 3, 40, 48)], axes=ANY_SIZE)
    attention = train_denoiser(AttentionUnet(), 1, steps=60)
    export(attention, folder / "attention.onnx", [torch.rand(1, 1, 40, 48)], axes=ANY_SIZE)
    encoder, decoder = vae()
    export(encoder, folder / "encoder.onnx", [torch.rand(1, 1, 28, 28)], outputs=("mean", "logvar"))
    export(decoder, folder / "decoder.onnx", [torch.rand(1, 8)])
    save_drawings(folder / "drawings.npy")
    write_saelens(folder / "sae", "topk", k=4)
    vaes.make("AutoencoderKL").save_pretrained(folder / "sd-vae")
    np.save(folder / "activations.npy", np.random.default_rng(0).standard_normal((80, 12)).astype(np.float32))
    (folder / "network.py").write_text(MODULE)
    save_file({"weight": torch.full((3, 1, 3, 3), 1 / 9)}, folder / "weights.safetensors")


def write_saelens(
    folder: Path, architecture: str, d_in: int = 12, d_sae: int = 40, **config: Any
) -> dict[str, np.ndarray]:
    """A random sparse autoencoder as SAELens saves it; its tensors."""
    generator = np.random.default_rng(2)
    shapes = {"W_enc": (d_in, d_sae), "W_dec": (d_sae, d_in), "b_dec": (d_in,)}
    shapes |= dict.fromkeys(TENSORS[architecture], (d_sae,))
    tensors = {name: (0.3 * generator.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: torch.from_numpy(tensor) for name, tensor in tensors.items()}, folder / WEIGHTS)
    document = {
        "architecture": architecture, "d_in": d_in, "d_sae": d_sae, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none",
        "metadata": {"sae_lens_version": "6.21.0"}, **config,
    }  # fmt: skip
    (folder / CONFIG).write_text(json.dumps(document))
    return tensors
