"""Sparse autoencoders of language models, as SAELens saves them: cfg.json and sae_weights.safetensors.

folder -> configuration, tensors -> torch modules -> encoder: vector -> features; decoder: features -> vector

Architectures: standard (Cunningham et al., ICLR 2024), topk (Gao et al., arXiv:2406.04093), jumprelu (Rajamanoharan et
al., arXiv:2407.14435) and gated (Rajamanoharan et al., NeurIPS 2024). Two normalisations scale each vector by itself
(`layer_norm`, `constant_norm_rescale`); what the decoder needs to undo that stands behind the features, as two further
numbers of the latent: mean and scale.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from training.errors import ImportRefused
from training.importing import torch_module
from training.importing.configuration import read_configuration
from training.importing.foreign_graph import ForeignGraph
from training.importing.options import ImportOptions

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
EPSILON = 1e-5  # of layer_norm
TENSORS = {  # that an architecture needs beside W_enc, W_dec and b_dec
    "standard": ("b_enc",),
    "topk": ("b_enc",),
    "jumprelu": ("b_enc", "threshold"),
    "gated": ("b_gate", "b_mag", "r_mag"),
}
NORMALISATIONS = ("none", "expected_average_only_in", "layer_norm", "constant_norm_rescale")


@dataclass(frozen=True)
class Config:
    """What of cfg.json decides the arithmetic."""

    architecture: str
    d_in: int
    d_sae: int
    applies_b_dec: bool
    normalisation: str
    k: int | None
    rescales_by_decoder_norm: bool


class Encoder(nn.Module):
    """float32 [N,d_in] -> features [N,d_sae], and for normalised vectors mean and scale: [N,d_sae+2]."""

    def __init__(self, config: Config, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.config = config
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    def forward(self, sample: Tensor) -> Tensor:
        tensors, config = dict(self.named_buffers()), self.config
        x, moments = _normalize(sample, config.normalisation)
        if config.applies_b_dec:
            x = x - tensors["b_dec"]
        hidden = x @ tensors["W_enc"]
        if config.architecture == "gated":
            magnitude = x @ (tensors["W_enc"] * tensors["r_mag"].exp()) + tensors["b_mag"]
            features = (hidden + tensors["b_gate"] > 0).float() * magnitude.relu()
        else:
            hidden = hidden + tensors["b_enc"]
            if config.rescales_by_decoder_norm:
                hidden = hidden * tensors["W_dec"].norm(dim=-1)
            features = hidden.relu()
            if config.architecture == "jumprelu":
                features = features * (hidden > tensors["threshold"]).float()
            elif config.architecture == "topk":
                values, indices = torch.topk(hidden, config.k or config.d_sae, dim=-1)
                features = torch.zeros_like(hidden).scatter(-1, indices, values.relu())
        return features if moments is None else torch.cat([features, moments], -1)


class Decoder(Encoder):
    """What Encoder answers -> float32 [N,d_in]."""

    def forward(self, latent: Tensor) -> Tensor:
        tensors, config = dict(self.named_buffers()), self.config
        features = latent[:, : config.d_sae]
        if config.rescales_by_decoder_norm:
            features = features / tensors["W_dec"].norm(dim=-1)
        if "scaling_factor" in tensors:
            features = features * tensors["scaling_factor"]
        output = features @ tensors["W_dec"] + tensors["b_dec"]
        if config.normalisation not in ("layer_norm", "constant_norm_rescale"):
            return output
        mean, scale = latent[:, config.d_sae : config.d_sae + 1], latent[:, config.d_sae + 1 :]
        return output * scale + mean


def _normalize(sample: Tensor, normalisation: str) -> tuple[Tensor, Tensor | None]:
    """The vectors as the weights expect them, and [N,2]: mean and scale, by which the decoder's answer goes back."""
    if normalisation == "layer_norm":
        mean = sample.mean(-1, keepdim=True)
        centred = sample - mean
        deviation = torch.sqrt((centred**2).sum(-1, keepdim=True) / (sample.shape[-1] - 1))
        return centred / (deviation + EPSILON), torch.cat([mean, deviation], -1)
    if normalisation == "constant_norm_rescale":
        scale = torch.sqrt((sample**2).sum(-1, keepdim=True)) / sample.shape[-1] ** 0.5
        scale = torch.where(scale > 0, scale, 1.0)  # SAELens answers NaN to a vector of zeros
        return sample / scale, torch.cat([torch.zeros_like(scale), scale], -1)
    return sample, None


def read(options: ImportOptions, folder: Path) -> tuple[ImportOptions, dict[str, ForeignGraph]]:
    """The options with the number of features if others follow, and the graphs `encoder` and `decoder`.

    Raises:
        ImportRefused: in one sentence, with the remedy.
    """
    document, files = _read_config(folder)
    try:
        data = (folder / WEIGHTS).read_bytes()
        tensors = {name: tensor.float() for name, tensor in load(data).items()}
    except OSError as error:
        raise ImportRefused(f"{folder / WEIGHTS} cannot be read: {error.strerror or error}") from error
    except SafetensorError as error:
        raise ImportRefused(f"{folder / WEIGHTS} is not safetensors: {error}") from error
    files[WEIGHTS] = hashlib.sha256(data).hexdigest()
    config = _parse(document, folder)
    tensors = _check_tensors(config, tensors, folder)
    options.report.add(
        f"{folder.name}: {config.architecture} sparse autoencoder, {config.d_sae} features of {config.d_in} numbers"
    )
    if config.normalisation == "expected_average_only_in":
        options.report.add(
            f"{folder.name}: vectors must be scaled to the average norm of its training beforehand; its file does not "
            "say by how much"
        )
    elif config.normalisation != "none":
        options.report.add(
            f"{folder.name}: {config.normalisation}; the last two numbers of a latent are mean and scale"
        )
    sample = torch.randn((2, config.d_in), generator=torch.Generator().manual_seed(0))
    encoder = Encoder(config, tensors).eval()
    with torch.inference_mode():
        latent = encoder(sample)
    has_moments = config.normalisation in ("layer_norm", "constant_norm_rescale")
    return replace(options, features=config.d_sae if has_moments else None), {
        "encoder": torch_module.export_module(encoder, "forward", sample, f"{folder.name} encoder", files),
        "decoder": torch_module.export_module(
            Decoder(config, tensors).eval(), "forward", latent.clone(), f"{folder.name} decoder", files
        ),
    }


def _read_config(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    path = folder / CONFIG
    remedy = f"give the folder that SAE.save_model wrote, with {CONFIG} and {WEIGHTS}"
    document, digest = read_configuration(path, remedy)
    if not isinstance(document, dict):
        raise ImportRefused(f"{path} is not a JSON object")
    return document, {CONFIG: digest}


def _parse(document: Mapping[str, Any], folder: Path) -> Config:
    """The configuration, with the names of SAELens before 6.0 as well."""
    path = folder / CONFIG
    architecture, k = document.get("architecture", "standard"), document.get("k")
    function = document.get("activation_fn", document.get("activation_fn_str", "relu"))
    if function == "topk" and isinstance(document.get("activation_fn_kwargs"), dict):
        architecture, k = "topk", document["activation_fn_kwargs"].get("k")
    normalisation = document.get("normalize_activations") or "none"
    if normalisation is True:
        normalisation = "expected_average_only_in"
    if not isinstance(architecture, str) or architecture not in TENSORS or normalisation not in NORMALISATIONS:
        raise ImportRefused(
            f"{path}: architecture {architecture!r} with normalisation {normalisation!r}; taken are "
            f"{', '.join(TENSORS)} with {', '.join(NORMALISATIONS)}: export another as ONNX, and give "
            "--encoder and --decoder"
        )
    if function not in ("relu", "topk") or (function == "topk" and architecture != "topk"):
        raise ImportRefused(
            f"{path}: activation_fn {function!r} of architecture {architecture}; taken are relu, and topk with its k: "
            "export another as ONNX, and give --encoder and --decoder"
        )
    d_in, d_sae = (_read_count(document, name, path) for name in ("d_in", "d_sae"))
    if architecture == "topk":
        k = _read_count({"k": k}, "k", path)
        if k > d_sae:
            raise ImportRefused(f"{path}: k is {k}, of {d_sae} features (d_sae)")
    switches = {"apply_b_dec_to_input": True, "rescale_acts_by_decoder_norm": False}
    for name, default in switches.items():
        value = document.get(name, default)
        if not isinstance(value, bool):
            raise ImportRefused(f"{path}: {name} must be true or false, not {value!r}")
        switches[name] = value
    return Config(
        architecture, d_in, d_sae, switches["apply_b_dec_to_input"], normalisation, k,
        switches["rescale_acts_by_decoder_norm"],
    )  # fmt: skip


def _read_count(document: Mapping[str, Any], name: str, path: Path) -> int:
    value = document.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ImportRefused(f"{path}: {name} must be a whole number from 1, not {value!r}")
    return value


def _check_tensors(config: Config, tensors: dict[str, Tensor], folder: Path) -> dict[str, Tensor]:
    """The tensors that the architecture uses; ImportRefused if one is missing or has another shape."""
    shapes = {"W_enc": (config.d_in, config.d_sae), "W_dec": (config.d_sae, config.d_in), "b_dec": (config.d_in,)}
    shapes |= dict.fromkeys(TENSORS[config.architecture], (config.d_sae,))
    for name, shape in shapes.items():
        if name not in tensors or tuple(tensors[name].shape) != shape:
            found = list(tensors[name].shape) if name in tensors else "missing"
            raise ImportRefused(f"{folder / WEIGHTS}: {name} is {found}; {CONFIG} wants {list(shape)}")
    broken = next((name for name in shapes if not torch.isfinite(tensors[name]).all()), None)
    if broken is not None:
        raise ImportRefused(f"{folder / WEIGHTS}: {broken} holds NaN or infinity")
    if "scaling_factor" in tensors:  # of SAELens before 6.0, fine-tuned
        shapes["scaling_factor"] = (config.d_sae,)
    broken = next((name for name in shapes if not torch.isfinite(tensors[name]).all()), None)
    if broken is not None:
        raise ImportRefused(f"{folder / WEIGHTS}: {broken} holds NaN or infinity")
    return {name: tensors[name] for name in shapes}
