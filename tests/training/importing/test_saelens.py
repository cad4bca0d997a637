"""Sparse autoencoders that SAELens saved, against its formulas, and against itself where it is installed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.training.importing.foreign_models import write_saelens
from tests.training.importing.test_denoiser import refusal, run_import
from training.importing.saelens import WEIGHTS

VECTORS = np.random.default_rng(5).standard_normal((60, 12)).astype(np.float32) * 3 + 0.5
CASES: list[tuple[str, dict[str, Any]]] = [
    ("standard", {}),
    ("standard", {"apply_b_dec_to_input": False, "normalize_activations": "layer_norm"}),
    ("topk", {"k": 5}),
    ("topk", {"k": 5, "rescale_acts_by_decoder_norm": True, "normalize_activations": "constant_norm_rescale"}),
    ("jumprelu", {}),
    ("gated", {}),
]


def encode(architecture: str, config: dict[str, Any], t: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Features [N,d_sae] and reconstruction [N,d_in] by the formulas of the papers, in float64."""
    x = VECTORS.astype(np.float64)
    mean, scale = np.zeros((len(x), 1)), np.ones((len(x), 1))
    if config.get("normalize_activations") == "layer_norm":
        mean, scale = x.mean(1, keepdims=True), x.std(1, ddof=1, keepdims=True)
        x = (x - mean) / (scale + 1e-5)
    elif config.get("normalize_activations") == "constant_norm_rescale":
        scale = np.linalg.norm(x, axis=1, keepdims=True) / np.sqrt(12)
        x = x / scale
    x = x - t["b_dec"] * config.get("apply_b_dec_to_input", True)
    norms = np.linalg.norm(t["W_dec"], axis=1) if config.get("rescale_acts_by_decoder_norm") else 1
    if architecture == "gated":
        gate = x @ t["W_enc"] + t["b_gate"] > 0
        features = gate * np.maximum(x @ (t["W_enc"] * np.exp(t["r_mag"])) + t["b_mag"], 0)
    else:
        hidden = (x @ t["W_enc"] + t["b_enc"]) * norms
        features = np.maximum(hidden, 0)
        if architecture == "jumprelu":
            features *= hidden > t["threshold"]
        elif architecture == "topk":
            features *= hidden >= np.sort(hidden, axis=1)[:, -config["k"], None]
    return features, ((features / norms) @ t["W_dec"] + t["b_dec"]) * scale + mean


@pytest.mark.parametrize(("architecture", "config"), CASES)
def test_features_and_reconstructions_are_those_of_the_formulas(
    architecture: str, config: dict[str, Any], tmp_path: Path
) -> None:
    tensors = write_saelens(tmp_path / "sae", architecture, **config)
    np.save(tmp_path / "vectors.npy", VECTORS)
    model, card = run_import(tmp_path, "--saelens", tmp_path / "sae", "--samples", tmp_path / "vectors.npy")
    assert model.manifest.kind == "sparse"
    assert model.manifest.imported is not None
    assert set(model.manifest.imported.files) == {"cfg.json", "sae_weights.safetensors"}
    features, output = encode(architecture, config, tensors)
    latents = model.encode(VECTORS)
    np.testing.assert_allclose(latents[:, :40], features, atol=1e-3 * np.abs(features).max())
    reconstruction = model.reconstruct(VECTORS).output
    np.testing.assert_allclose(reconstruction, output, atol=1e-3 * np.abs(output).max())
    assert {"explained_variance", "active_features"} <= set(model.manifest.evaluation)
    if architecture == "topk":
        assert (np.count_nonzero(latents[:, :40], axis=1) <= 5).all()
    assert f"{architecture} sparse autoencoder, 40 features of 12 numbers" in card


def test_names_of_before_version_6_are_understood(tmp_path: Path) -> None:
    tensors = write_saelens(tmp_path / "sae", "topk", k=5)
    document = json.loads((tmp_path / "sae/cfg.json").read_text())
    old = {key: document[key] for key in ("d_in", "d_sae", "apply_b_dec_to_input")}
    old |= {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 5}, "normalize_activations": "none"}
    (tmp_path / "sae/cfg.json").write_text(json.dumps(old))
    model, _ = run_import(tmp_path, "--saelens", tmp_path / "sae")
    features, _ = encode("topk", {"k": 5}, tensors)
    np.testing.assert_allclose(model.encode(VECTORS), features, atol=1e-3 * np.abs(features).max())


def test_the_answers_are_those_of_saelens_itself(tmp_path: Path) -> None:
    saelens = pytest.importorskip("sae_lens", reason="the package sae-lens is not installed")
    import torch

    for number, (architecture, config) in enumerate(CASES):
        write_saelens(tmp_path / f"sae-{number}", architecture, **config)
        expected = saelens.SAE.load_from_disk(tmp_path / f"sae-{number}").encode(torch.from_numpy(VECTORS))
        model, _ = run_import(tmp_path, "--saelens", tmp_path / f"sae-{number}")
        np.testing.assert_allclose(model.encode(VECTORS)[:, :40], expected.detach().numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"architecture": "temporal"}, "architecture 'temporal'"),
        ({"normalize_activations": "covariance_whitening"}, "normalisation 'covariance_whitening'"),
        ({"d_sae": 39}, "W_enc is [12, 40]"),
        ({"d_in": "12"}, "d_in must be a whole number"),
        ({"d_sae": True}, "d_sae must be a whole number"),
        ({"architecture": ["standard"]}, "architecture ['standard']"),
        ({"architecture": "topk"}, "k must be a whole number from 1, not None"),
        ({"architecture": "topk", "k": 2.5}, "k must be a whole number"),
        ({"architecture": "topk", "k": 41}, "k is 41, of 40 features"),
        ({"apply_b_dec_to_input": "false"}, "apply_b_dec_to_input must be true or false"),
        ({"activation_fn": "tanh-relu"}, "activation_fn 'tanh-relu'"),
    ],
)
def test_what_cannot_be_taken_is_refused(
    change: dict[str, Any], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_saelens(tmp_path / "sae", "standard")
    document = json.loads((tmp_path / "sae/cfg.json").read_text())
    (tmp_path / "sae/cfg.json").write_text(json.dumps({**document, **change}))
    assert sentence in refusal(capsys, tmp_path, "--saelens", tmp_path / "sae")
    (tmp_path / "sae/cfg.json").unlink()
    assert "SAE.save_model" in refusal(capsys, tmp_path, "--saelens", tmp_path / "sae")


def test_weights_that_are_not_finite_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = write_saelens(tmp_path / "sae", "standard")
    tensors["W_dec"][3, 4] = np.nan
    save_file({name: torch.from_numpy(tensor) for name, tensor in tensors.items()}, tmp_path / "sae" / WEIGHTS)
    assert "W_dec holds NaN or infinity" in refusal(capsys, tmp_path, "--saelens", tmp_path / "sae")


def test_a_vector_of_zeros_has_a_latent(tmp_path: Path) -> None:
    write_saelens(tmp_path / "sae", "standard", normalize_activations="constant_norm_rescale")
    model, _ = run_import(tmp_path, "--saelens", tmp_path / "sae")
    latent = model.encode(np.zeros((2, 12), np.float32))
    assert np.isfinite(latent).all()
    assert np.isfinite(model.decode(latent)).all()
