"""Autoencoders of image generators, in the folder form of the package diffusers: config.json and safetensors.

folder -> class, factors, weights (by diffusers) -> encoder: picture -> mean of the latents; decoder: latents -> picture

Classes: AutoencoderKL (Rombach et al., CVPR 2022) and AutoencoderTiny (TAESD). Both take and answer pixels in -1..1.
Weights of float16 and bfloat16 are computed with in float32.
"""

import hashlib
import math
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from service.model.manifest import LatentScaling
from training.errors import ImportRefused
from training.importing import torch_module
from training.importing.configuration import read_configuration
from training.importing.foreign_graph import ForeignGraph
from training.importing.options import ImportOptions
from training.importing.probes.pixel_format import RANGES

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model"
CLASSES = ("AutoencoderKL", "AutoencoderTiny")
EXTRA = "pip install 'autoencoder-service[diffusers]'"
SLICES = 16  # of the queries of attention
SIDES = (64, 96)  # height and width of the picture that is traced, unless the stride is larger


class Encoder(nn.Module):
    """float32 [N,C,H,W] in -1..1 -> latents [N,c,h,w]; of a distribution, its mean. They are not yet scaled."""

    def __init__(self, autoencoder: nn.Module) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, sample: Tensor) -> Tensor:
        with patch.object(F, "scaled_dot_product_attention", attend_in_slices):
            answer = self.autoencoder.encode(sample)  # type: ignore[operator]
        latents: Tensor = answer.latent_dist.mean if hasattr(answer, "latent_dist") else answer.latents
        return latents


class Decoder(Encoder):
    """What Encoder answers -> float32 [N,C,H,W] in -1..1, where the network keeps to that."""

    def forward(self, sample: Tensor) -> Tensor:
        with patch.object(F, "scaled_dot_product_attention", attend_in_slices):
            picture: Tensor = self.autoencoder.decode(sample).sample  # type: ignore[operator]
        return picture


def attend_in_slices(query: Tensor, key: Tensor, value: Tensor, **_: Any) -> Tensor:
    """softmax(query key^T / sqrt(d)) value of [N,heads,L,d], for a slice of the queries at a time.

    The whole matrix of a picture of 1024x1024 has 16,384 x 16,384 numbers, 1 GB; it is never there as a whole.
    """
    length = query.shape[-2]
    rows = (length + SLICES - 1) // SLICES
    padded = F.pad(query, (0, 0, 0, rows * SLICES - length))
    slices = padded.reshape(*query.shape[:-2], SLICES, rows, query.shape[-1])
    weights = key.transpose(-1, -2) * query.shape[-1] ** -0.5
    answers = [torch.softmax(slices[..., index, :, :] @ weights, -1) @ value for index in range(SLICES)]
    return torch.stack(answers, -3).flatten(-3, -2)[..., :length, :]


def read(options: ImportOptions, folder: Path) -> tuple[ImportOptions, dict[str, ForeignGraph]]:
    """The options with what the class says (range, order, factors), and the graphs `encoder` and `decoder`.

    Raises:
        ImportRefused: in one sentence, with the remedy.
    """
    folder, document, digest = _read_config(folder)
    name = document["_class_name"]
    files, variant = _list_weights(folder)
    autoencoder = load_module(folder, name, variant)
    scaling = read_scaling(options, folder, autoencoder)
    options.report.add(f"{folder.name}: {name}, pixels in -1..1, latents of {document.get('latent_channels')} channels")
    stride = _measure_stride(autoencoder, document)
    height, width = (max(stride, side // stride * stride) for side in SIDES)
    channels = int(document.get("in_channels", 3))
    sample = torch.rand((2, channels, height, width), generator=torch.Generator().manual_seed(0)) * 2 - 1
    encoder = Encoder(autoencoder).eval()
    with torch.inference_mode():
        latents = encoder(sample)
    digests = {CONFIG: digest} | {file.name: _digest(file) for file in files}
    graphs = {
        "encoder": torch_module.export_module(encoder, "forward", sample, f"{folder.name} encoder", digests),
        "decoder": torch_module.export_module(
            Decoder(autoencoder).eval(), "forward", latents.clone(), f"{folder.name} decoder", digests
        ),
    }
    pixels = options.range or RANGES["-1..1"]
    return replace(options, range=pixels, order=options.order or "rgb", is_unchecked=True, scaling=scaling), graphs


def _read_config(folder: Path) -> tuple[Path, dict[str, Any], str]:
    """The autoencoder's folder (`vae` in that of a pipeline), its configuration, and the SHA-256 of that."""
    if not (folder / CONFIG).exists() and (folder / "vae" / CONFIG).is_file():
        folder = folder / "vae"
    path = folder / CONFIG
    remedy = f"give the folder that save_pretrained wrote, with {CONFIG} and {WEIGHTS}.safetensors"
    document, digest = read_configuration(path, remedy)
    name = document.get("_class_name") if isinstance(document, dict) else None
    if name not in CLASSES:
        raise ImportRefused(
            f"{path} is of {name or 'no class'}; taken are {' and '.join(CLASSES)}: of another autoencoder export "
            "encoder and decoder as ONNX, and give --encoder and --decoder"
        )
    return folder, document, digest


def _list_weights(folder: Path) -> tuple[list[Path], str | None]:
    """The files of one set of weights, and its variant: full precision, or else fp16 or bf16."""
    for variant in (None, "fp16", "bf16"):
        middle = "" if variant is None else f".{variant}"
        files = sorted(folder.glob(f"{WEIGHTS}{middle}.safetensors")) or sorted(
            folder.glob(f"{WEIGHTS}{middle}-*-of-*.safetensors")
        )
        if files:
            return files, variant
    pickles = [path.name for path in folder.glob("*") if path.suffix in (".bin", ".pt", ".pth", ".ckpt")]
    if pickles:
        raise ImportRefused(
            f"{folder} holds {pickles[0]}, a pickle, which can run code when it is opened; save it again with "
            "save_pretrained(..., safe_serialization=True)"
        )
    raise ImportRefused(f"{folder} has no {WEIGHTS}.safetensors; give the folder that save_pretrained wrote")


def load_module(folder: Path, name: str, variant: str | None) -> nn.Module:
    """The module with its weights, float32."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # everything is in the folder
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import diffusers
            from diffusers.utils import logging
    except ImportError as error:
        raise ImportRefused(f"--diffusers needs the package diffusers, which is not installed: {EXTRA}") from error
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module, loading = getattr(diffusers, name).from_pretrained(
                folder, variant=variant, use_safetensors=True, local_files_only=True, torch_dtype=torch.float32,
                low_cpu_mem_usage=False, output_loading_info=True,
            )  # fmt: skip
    except Exception as error:  # diffusers' errors share no base class
        raise ImportRefused(
            f"{folder} cannot be loaded by diffusers {diffusers.__version__}: {' '.join(str(error).split())[:300]}; "
            f"its {CONFIG} and weights must be those that save_pretrained wrote"
        ) from error
    faults = [f"without {key}" for key in loading["missing_keys"]] + [f"{k}" for k in loading["mismatched_keys"]]
    if faults:
        raise ImportRefused(f"the weights in {folder} do not fit {CONFIG}: {faults[0]}")
    module = module.eval()
    if not all(torch.isfinite(tensor).all() for tensor in module.parameters()):
        raise ImportRefused(f"the weights in {folder} hold NaN or infinity")
    return module  # type: ignore[no-any-return]


def read_scaling(options: ImportOptions, folder: Path, autoencoder: Any) -> LatentScaling:
    """The factors of the module's configuration, which has the defaults of its class: files of before lack them."""
    config = autoencoder.config
    factor, shift = config.get("scaling_factor"), config.get("shift_factor")
    factor, shift = (1.0 if factor is None else factor), (0.0 if shift is None else shift)
    are_numbers = all(isinstance(value, int | float) and math.isfinite(value) for value in (factor, shift))
    if not are_numbers or not factor > 0:
        raise ImportRefused(f"{folder / CONFIG}: scaling_factor must be a number above 0, shift_factor a number")
    if config.get("latents_mean") is not None or config.get("latents_std") is not None:
        options.report.add(f"{folder.name}: latents_mean and latents_std of {CONFIG} are not applied; do that yourself")
    options.report.add(f"{folder.name}: scaled latents are (latents - {shift:g}) * {factor:g}")
    return LatentScaling(scaling_factor=float(factor), shift_factor=float(shift))


def _measure_stride(autoencoder: nn.Module, document: dict[str, Any]) -> int:
    """Pixels along a side of one position of the latents, by the number of levels."""
    levels = document.get("block_out_channels")
    if document["_class_name"] == "AutoencoderTiny":
        levels = document.get("encoder_block_out_channels")
    count = len(levels) if isinstance(levels, list) else 4
    side = 1 << count
    with torch.inference_mode():
        latents = Encoder(autoencoder)(torch.zeros(1, int(document.get("in_channels", 3)), side, side))
    return max(1, side // int(latents.shape[-1]))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
