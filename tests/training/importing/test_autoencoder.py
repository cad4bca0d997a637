"""Encoders and decoders of others become packages."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from service.errors import TooLarge
from tests.drawings import drawings
from tests.training.importing import foreign_models
from tests.training.importing.foreign_models import ANY_SIZE, export
from tests.training.importing.test_denoiser import refusal, run_import
from training.importing.probes.trial_pictures import draw_pictures

DRAWINGS = drawings(6, seed=9, size=28)[..., None]


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("vae")
    encoder, decoder = foreign_models.vae()
    return (
        export(encoder, folder / "enc.onnx", [torch.rand(1, 1, 28, 28)], outputs=("mean", "logvar")),
        export(decoder, folder / "dec.onnx", [torch.rand(1, 8)], names=("z",), axes={"z": {0: "n"}}, opset=13),
    )


@pytest.fixture(scope="module")
def convolutional(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("convolutional")
    module = foreign_models.convolutional_vae()
    return (
        export(module.encoder, folder / "enc.onnx", [torch.rand(1, 3, 32, 40)], axes=ANY_SIZE),
        export(module.decoder, folder / "dec.onnx", [torch.rand(1, 4, 8, 10)], axes=ANY_SIZE),
    )


def test_the_mean_of_a_vae_is_encoded_decoded_and_measured(
    vae: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = ("--encoder", vae[0], "--decoder", vae[1])
    sentence = refusal(capsys, tmp_path, *both)
    assert "mean [1,8], logvar [1,8]" in sentence
    samples = foreign_models.save_drawings(tmp_path / "drawings.npy")
    model, card = run_import(tmp_path, *both, "--output", "mean", "--samples", samples)
    manifest = model.manifest
    assert manifest.operations == ("encode", "decode", "reconstruct")
    assert manifest.kind == "undercomplete"
    assert manifest.opset == 17
    assert manifest.imported is not None
    assert manifest.imported.samples is not None
    assert (manifest.imported.samples.reference, manifest.imported.samples.test) == (60, 60)
    metric = manifest.evaluation["reconstruction_mse"]
    assert metric.value < metric.baselines["mean of the others"]
    assert "PCA 8" in metric.baselines
    assert "Whether the model was trained on any of them is not known" in card
    encoder, decoder = foreign_models.vae()
    with torch.inference_mode():
        mean, _ = encoder(torch.from_numpy(DRAWINGS).permute(0, 3, 1, 2) / 255)
        output = (decoder(mean) * 255).round().permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(model.encode(DRAWINGS), mean.numpy(), atol=1e-3 * float(mean.abs().max()))
    reconstruction = model.reconstruct(DRAWINGS)
    assert np.abs(reconstruction.output - output).max() <= 1
    assert ((reconstruction.percentile >= 0) & (reconstruction.percentile <= 100)).all()


def test_without_samples_there_is_no_reconstruct(vae: tuple[Path, Path], tmp_path: Path) -> None:
    words = ("--encoder", vae[0], "--decoder", vae[1], "--output", "mean", "--range", "0..1", "--unchecked")
    model, card = run_import(tmp_path, *words)
    assert model.manifest.operations == ("encode", "decode")
    assert "there is no operation `reconstruct`" in card


def test_an_encoder_alone_needs_its_range_and_a_decoder_alone_shows_it(
    vae: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--encoder", vae[0], "--output", "mean")
    assert "alone does not show its range" in refusal(capsys, tmp_path, *words)
    model, _ = run_import(tmp_path, *words, "--range", "0..1")
    assert model.manifest.operations == ("encode",)
    model, card = run_import(tmp_path, "--decoder", vae[1])
    assert model.manifest.operations == ("decode",)
    assert "ends in Sigmoid, so its pixels are in 0..1" in card
    assert model.decode(np.zeros((3, 8), np.float32)).shape == (3, 28, 28, 1)


def test_a_convolutional_vae_takes_any_size_and_half_of_its_channels_are_the_mean(
    convolutional: tuple[Path, Path], tmp_path: Path
) -> None:
    pictures = foreign_models.save_pictures(tmp_path / "photos", 12, 3)
    words = ("--encoder", convolutional[0], "--decoder", convolutional[1], "--max-pixels", 20_000)
    model, card = run_import(tmp_path, *words, "--samples", pictures)
    assert "answers 8 channels, the decoder takes 4: the first are the mean" in card
    assert "range -1..1 (found by trial)" in card
    assert model.strides == (4, 4)
    assert model.manifest.memory is not None
    picture = draw_pictures(1, 50, 70, 3)
    assert model.reconstruct(picture).output.shape == (1, 50, 70, 3)
    assert model.encode(picture).shape == (1, 4, 13, 18)
    assert model.count_pixels("decode", (4, 13, 18)) == 52 * 72


def test_a_wrong_range_is_caught_by_the_samples(
    convolutional: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = foreign_models.save_pictures(tmp_path / "photos", 12, 3)
    words = ("--encoder", convolutional[0], "--decoder", convolutional[1], "--samples", pictures)
    sentence = refusal(capsys, tmp_path, *words, "--range", "0..255")
    assert "no reconstruction" in sentence
    assert "correlation" in sentence


def test_graphs_of_two_models_are_refused(
    vae: tuple[Path, Path], convolutional: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--encoder", vae[0], "--output", "mean", "--decoder", convolutional[1])
    assert "give the two of one model" in refusal(capsys, tmp_path, *words)


def test_vectors_are_taken_as_they_are(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder, decoder = nn.Linear(12, 20), nn.Linear(20, 12)
    with torch.no_grad():
        decoder.weight.copy_(torch.linalg.pinv(encoder.weight))
        decoder.bias.copy_(-decoder.weight @ encoder.bias)
    files = (
        export(encoder, tmp_path / "enc.onnx", [torch.rand(1, 12)]),
        export(decoder, tmp_path / "dec.onnx", [torch.rand(1, 20)]),
    )
    vectors = np.random.default_rng(0).standard_normal((40, 12)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", vectors)
    model, _ = run_import(tmp_path, "--encoder", files[0], "--decoder", files[1], "--samples", tmp_path / "vectors.npy")
    assert model.manifest.kind == "overcomplete"
    np.testing.assert_allclose(model.reconstruct(vectors).output, vectors, atol=1e-3)


def save_identity(tmp_path: Path) -> list[Path]:
    """An encoder and a decoder of 64 numbers in 0..1, beyond which they are cut."""

    class Cut(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.clamp(0, 1)

    return [export(Cut(), tmp_path / f"{n}.onnx", [torch.rand(1, 64)], axes={"input": {0: "n"}}) for n in "ed"]


def test_vectors_that_do_not_come_out_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    encoder, decoder = save_identity(tmp_path)
    np.save(tmp_path / "bytes.npy", np.random.default_rng(0).integers(0, 256, (40, 64), np.uint8))
    words = ("--encoder", encoder, "--decoder", decoder, "--samples", tmp_path / "bytes.npy")
    assert "divided by 255 they come out as they went in" in refusal(capsys, tmp_path, *words)
    np.save(tmp_path / "negative.npy", -np.random.default_rng(0).random((40, 64)))
    words = (*words[:-1], tmp_path / "negative.npy")
    assert "scaled as the model was trained" in refusal(capsys, tmp_path, *words)
    _, card = run_import(tmp_path, *words, "--unchecked")
    assert "what comes out is no reconstruction" in card


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_pictures_may_be_numbers_in_0_to_1(dtype: type, vae: tuple[Path, Path], tmp_path: Path) -> None:
    images = drawings(40, seed=3, size=28) / 255
    np.save(tmp_path / "drawings.npy", (images * (255 if dtype == np.uint8 else 1)).astype(dtype))
    words = ("--encoder", vae[0], "--decoder", vae[1], "--output", "mean", "--samples", tmp_path / "drawings.npy")
    model, card = run_import(tmp_path, *words)
    assert "range 0..1 (found by trial)" in card
    assert "reconstruct" in model.manifest.operations


@pytest.mark.parametrize("count", [2, 6])
def test_few_or_equal_samples_are_enough(count: int, convolutional: tuple[Path, Path], tmp_path: Path) -> None:
    picture = draw_pictures(1, 64, 64, 3, seed=21)
    np.save(tmp_path / "same.npy", np.repeat(picture, count, axis=0))
    words = ("--encoder", convolutional[0], "--decoder", convolutional[1], "--max-pixels", 20_000)
    model, _ = run_import(tmp_path, *words, "--samples", tmp_path / "same.npy")
    assert "reconstruct" in model.manifest.operations


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.zeros((0, 28, 28), np.uint8), "holds no samples"),
        (np.zeros((1, 28, 28), np.uint8), "1 sample: too few"),
        (np.zeros((28, 28, 3), np.uint8), "that is one picture"),
        (np.zeros((9, 1, 28, 28), np.float32), "channels come last"),
        (np.full((9, 28, 28), np.nan), "NaN or infinity"),
        (np.zeros((9, 784)), "holds vectors"),
    ],
)
def test_samples_that_are_no_pictures_are_refused(
    array: np.ndarray, sentence: str, vae: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "s.npy", array)
    words = ("--encoder", vae[0], "--decoder", vae[1], "--output", "mean", "--samples", tmp_path / "s.npy")
    assert sentence in refusal(capsys, tmp_path, *words)


def test_an_exchanged_pair_is_noticed(
    convolutional: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder, decoder = convolutional
    assert "were --encoder and --decoder exchanged?" in refusal(
        capsys, tmp_path, "--encoder", decoder, "--decoder", encoder
    )
    shrink, grow = nn.AvgPool2d(4), nn.Upsample(scale_factor=4.0, mode="bilinear")
    files = [
        export(module, tmp_path / f"{name}.onnx", [torch.rand(1, 3, 32, 32)], axes=ANY_SIZE)
        for name, module in (("shrink", shrink), ("grow", grow))
    ]
    line = refusal(capsys, tmp_path, "--encoder", files[1], "--decoder", files[0])
    assert "which is larger: were --encoder and --decoder exchanged?" in line


def test_the_memory_of_a_decoder_alone_is_measured(convolutional: tuple[Path, Path], tmp_path: Path) -> None:
    model, card = run_import(tmp_path, "--decoder", convolutional[1], "--range", "-1..1", "--max-pixels", 20_000)
    assert "images are run whole, up to 0.0" in card
    assert model.manifest.memory is not None
    assert model.decode(np.zeros((1, 4, 9, 13), np.float32)).shape == (1, 36, 52, 3)
    with pytest.raises(TooLarge, match="was measured up to"):
        model.estimate_run_bytes(model.count_pixels("decode", (4, 200, 200)))


def test_what_the_service_would_not_start_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Unit(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x / (x**2).sum(1, keepdim=True).sqrt()

    encoder = export(Unit(), tmp_path / "unit.onnx", [torch.rand(1, 6)], axes={"input": {0: "n"}})
    assert "runs each graph on zeros first" in refusal(capsys, tmp_path, "--encoder", encoder)
