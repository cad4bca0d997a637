"""Autoencoders of image generators, saved by diffusers, become packages that answer as the modules do."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from service.model import package
from service.model.runtime import Model
from tests import vaes
from tests.training.importing.test_denoiser import refusal, run_import
from training.importing.diffusers import CONFIG, WEIGHTS, attend_in_slices, load_module, read_scaling
from training.importing.options import ImportOptions

pytest.importorskip("diffusers", reason="the package diffusers is not installed")


@pytest.mark.parametrize(("height", "width"), [(32, 48), (64, 64), (20, 36)])
@pytest.mark.parametrize("name", vaes.SHAPES)
def test_latents_and_pictures_are_those_of_the_module(name: str, height: int, width: int) -> None:
    models, module = vaes.write_package(name)
    model = Model(package.read(models / "vae/1"), "cpu")
    pictures = vaes.make_pictures(2, height, width)
    with torch.inference_mode():
        answer = module.encode(pictures)
        expected = answer.latent_dist.mean if name == "AutoencoderKL" else answer.latents
        decoded = module.decode(expected).sample
    pixels = ((pictures + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    latents = model.encode(pixels)
    assert latents.shape == (2, 4, height // vaes.STRIDE, width // vaes.STRIDE)
    np.testing.assert_allclose(latents, expected, atol=1e-3 * float(expected.abs().max()))
    grey = ((decoded + 1) * 127.5).clamp(0, 255).permute(0, 2, 3, 1).numpy()
    assert np.abs(model.decode(expected.numpy()) - grey).max() <= 1


def test_the_manifest_has_the_factors_and_the_files() -> None:
    models, _ = vaes.write_package()
    manifest = package.read_manifest(models / "vae/1")
    assert manifest.latent_scaling is not None
    assert (manifest.latent_scaling.scaling_factor, manifest.latent_scaling.shift_factor) == (0.3611, 0.1159)
    assert manifest.imported is not None
    assert set(manifest.imported.files) == {CONFIG, f"{WEIGHTS}.safetensors"}
    assert manifest.operations == ("encode", "decode")
    assert manifest.memory is not None


@pytest.mark.parametrize(("dtype", "variant"), [(torch.bfloat16, None), (torch.float16, "fp16")])
def test_weights_of_two_bytes_are_taken(dtype: torch.dtype, variant: str | None, tmp_path: Path) -> None:
    module = vaes.make("AutoencoderTiny").to(dtype)
    module.save_pretrained(tmp_path / "pipeline/vae", variant=variant)
    model, card = run_import(tmp_path, "--diffusers", tmp_path / "pipeline", "--max-pixels", 20_000)
    pictures = vaes.make_pictures()
    with torch.inference_mode():
        expected = module.float().encode(pictures).latents
    pixels = ((pictures + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(model.encode(pixels), expected, atol=1e-3 * float(expected.abs().max()))
    assert "AutoencoderTiny, pixels in -1..1" in card


@pytest.mark.parametrize(("name", "factors"), [("AutoencoderKL", (0.18215, 0)), ("AutoencoderTiny", (1, 0))])
def test_factors_that_the_file_lacks_are_those_of_the_class(
    name: str, factors: tuple[float, float], tmp_path: Path
) -> None:
    vaes.make(name).save_pretrained(tmp_path)
    config = json.loads((tmp_path / CONFIG).read_text())
    del config["scaling_factor"], config["shift_factor"]
    (tmp_path / CONFIG).write_text(json.dumps(config))
    scaling = read_scaling(ImportOptions(out=tmp_path), tmp_path, load_module(tmp_path, name, None))
    assert (scaling.scaling_factor, scaling.shift_factor) == factors


def test_attention_in_slices_is_attention() -> None:
    query, key, value = torch.randn(3, 2, 1, 50, 8, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(attend_in_slices(query, key, value), expected)
    few = attend_in_slices(query[..., :3, :], key[..., :3, :], value[..., :3, :])  # fewer than slices
    torch.testing.assert_close(
        few, torch.nn.functional.scaled_dot_product_attention(query[..., :3, :], key[..., :3, :], value[..., :3, :])
    )


def test_what_cannot_be_taken_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = tmp_path / "given"
    assert "save_pretrained" in refusal(capsys, tmp_path, "--diffusers", given)
    vaes.make("AutoencoderTiny").save_pretrained(given)
    config = json.loads((given / CONFIG).read_text())
    for change, sentence in (
        ({"_class_name": "UNet2DConditionModel"}, "UNet2DConditionModel; taken are AutoencoderKL and AutoencoderTiny"),
        ({"latent_channels": 8}, "cannot be loaded by diffusers"),
        ({"scaling_factor": float("inf")}, "scaling_factor must be a number above 0"),
        ({"scaling_factor": 0}, "scaling_factor must be a number above 0"),
        ({"num_encoder_blocks": [1, 1, 2]}, "do not fit config.json: without"),
    ):
        (given / CONFIG).write_text(json.dumps({**config, **change}))
        assert sentence in refusal(capsys, tmp_path, "--diffusers", given)
    (given / CONFIG).write_text("no JSON")
    assert "is not JSON" in refusal(capsys, tmp_path, "--diffusers", given)
    (given / CONFIG).write_text(json.dumps(config))
    (given / f"{WEIGHTS}.safetensors").write_bytes(b"no tensors")
    assert "cannot be loaded by diffusers" in refusal(capsys, tmp_path, "--diffusers", given)
    shutil.move(given / f"{WEIGHTS}.safetensors", given / f"{WEIGHTS}.bin")
    assert "a pickle, which can run code" in refusal(capsys, tmp_path, "--diffusers", given)
    (given / f"{WEIGHTS}.bin").unlink()
    assert f"has no {WEIGHTS}.safetensors" in refusal(capsys, tmp_path, "--diffusers", given)
