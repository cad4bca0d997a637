"""Tiny randomly initialised autoencoders of image generators, saved by diffusers, and packages imported from them."""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch

from training.__main__ import main

SHAPES: dict[str, dict[str, Any]] = {
    "AutoencoderKL": {
        "down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3,
        "block_out_channels": (8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4, "latent_channels": 4,
        "scaling_factor": 0.3611, "shift_factor": 0.1159,
    },
    "AutoencoderTiny": {
        "encoder_block_out_channels": (8, 8, 8), "decoder_block_out_channels": (8, 8, 8),
        "num_encoder_blocks": (1, 1, 1), "num_decoder_blocks": (1, 1, 1), "latent_channels": 4,
    },
}  # fmt: skip
STRIDE = 4


def make(name: str) -> Any:
    """The module, in evaluation mode."""
    import diffusers

    torch.manual_seed(3)
    return getattr(diffusers, name)(**SHAPES[name]).eval()


def write_package(name: str = "AutoencoderKL") -> tuple[Path, Any]:
    """Once in a process: (the folder of models, which holds `vae`; the module that it was imported from)"""
    return _write_package(name)


@cache
def _write_package(name: str) -> tuple[Path, Any]:
    folder = Path(tempfile.mkdtemp(prefix="vae-"))
    module = make(name)
    module.save_pretrained(folder / "given")
    words = ("--diffusers", folder / "given", "--max-pixels", 20_000, "--out", folder / "models/vae")
    assert main(["import", *map(str, words)]) == 0
    return folder / "models", module


def make_pictures(count: int = 1, height: int = 32, width: int = 48) -> torch.Tensor:
    """[N,3,H,W] in -1..1 that are whole pixels."""
    generator = torch.Generator().manual_seed(4)
    return torch.randint(0, 256, (count, 3, height, width), generator=generator) / 127.5 - 1
