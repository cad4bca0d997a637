"""Denoisers of others become packages: what is found, what is refused, what the package answers."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from onnxruntime.transformers.float16 import convert_float_to_float16
from torch import Tensor, nn

from service.model import package
from service.model.runtime import Model
from service.model.tiles import denoise_in_tiles
from tests.training.importing import foreign_models
from tests.training.importing.foreign_models import ANY_SIZE, AttentionUnet, DnCnn, DruNet, FfdNet, export
from training.__main__ import main
from training.importing.probes.trial_pictures import add_noise, draw_pictures

FIFTH = torch.full((1, 1, 1, 1), 0.1)


def run_import(tmp_path: Path, *words: object) -> tuple[Model, str]:
    """The imported package, opened, and its card."""
    assert main(["import", *map(str, words), "--out", str(tmp_path / "models/mine")]) == 0
    directory = max((tmp_path / "models/mine").iterdir(), key=lambda path: int(path.name))
    return Model(package.read(directory), "cpu"), (directory / "README.md").read_text()


def refusal(capsys: pytest.CaptureFixture[str], tmp_path: Path, *words: object) -> str:
    """The one line that the command leaves with; nothing is written."""
    assert main(["import", *map(str, words), "--out", str(tmp_path / "models/mine")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert not list(tmp_path.glob("models/mine/*"))
    return line


def noisy_picture(channels: int, height: int = 80, width: int = 104) -> tuple[np.ndarray, np.ndarray]:
    clean = draw_pictures(1, height, width, channels, seed=31)[0]
    return clean, add_noise(clean[None])[0].clip(0, 255).round().astype(np.uint8)


def error(image: np.ndarray, clean: np.ndarray) -> float:
    return float(np.mean((image.astype(float) - clean) ** 2))


# --- what is found ---------------------------------------------------------------------------------------


def test_a_dncnn_of_an_old_opset_is_imported_with_its_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = export(foreign_models.dncnn(), tmp_path / "dncnn.onnx", [torch.rand(1, 1, 40, 48)], axes=ANY_SIZE, opset=11)
    pictures = foreign_models.save_pictures(tmp_path / "photos", 8, 1)
    model, card = run_import(tmp_path, "--denoiser", file, "--samples", pictures, "--licence", "MIT")
    manifest = model.manifest
    assert manifest.training is None
    assert manifest.imported is not None
    assert list(manifest.imported.files) == ["dncnn.onnx"]
    assert manifest.imported.licence == "MIT"
    assert str(tmp_path) not in json.dumps(manifest.model_dump(mode="json")) + card
    assert manifest.halo == 5, "five layers of 3x3"
    assert manifest.opset == 17
    metric = manifest.evaluation["denoising_psnr_gaussian_25"]
    assert metric.value > metric.baselines["noisy"] + 4
    assert {"non-local means", "8 bits"} <= set(metric.baselines)
    assert {f"denoising_psnr_gaussian_{sigma}" for sigma in (15, 25, 50)} <= set(manifest.evaluation)
    printed = capsys.readouterr().out
    for line in ("opset 11 became 17", "range 0..1 (found by trial)", "parity with the given graph: at most"):
        assert line in printed
        assert line in card
    clean, noisy = noisy_picture(1)
    assert error(model.denoise(noisy[None])[0], clean) < 0.4 * error(noisy, clean)
    assert np.abs(denoise_in_tiles(model, noisy, 48).astype(int) - model.denoise(noisy[None])[0]).max() <= 1


def test_a_fixed_batch_and_size_become_dynamic(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = export(foreign_models.dncnn(), tmp_path / "fixed.onnx", [torch.rand(1, 1, 40, 48)], opset=9)
    model, _ = run_import(tmp_path, "--denoiser", file)
    printed = capsys.readouterr().out
    assert "its fixed batch of 1 became dynamic" in printed
    assert "its fixed size of 48x40 became dynamic" in printed
    _, noisy = noisy_picture(1)
    pair = np.stack([noisy, noisy[::-1]])
    assert (model.denoise(pair)[1] == model.denoise(pair[1:])[0]).all()


class _Scaled(nn.Module):
    """A denoiser of 0..1 whose input and output are in another range, order or layout."""

    def __init__(self, inner: nn.Module, mean: Any, deviation: Any, *, bgr: bool = False, nhwc: bool = False) -> None:
        super().__init__()
        self.inner, self.bgr, self.nhwc = inner, bgr, nhwc
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 3, 1, 2) if self.nhwc else x
        x = x.flip(1) if self.bgr else x
        y = (torch.clamp(self.inner(x * self.deviation + self.mean), 0, 1) - self.mean) / self.deviation  # type: ignore[operator]
        y = y.flip(1) if self.bgr else y
        return y.permute(0, 2, 3, 1) if self.nhwc else y


@pytest.mark.parametrize(
    ("mean", "deviation", "name", "nhwc"),
    [
        ([0.5], [0.5], "-1..1", False),
        ([0.0], [1 / 255], "0..255", True),
        ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], "imagenet", False),
    ],
)
def test_range_and_layout_are_found_by_trial(
    tmp_path: Path, mean: list[float], deviation: list[float], name: str, nhwc: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    example = torch.rand(1, 40, 48, 3) if nhwc else torch.rand(1, 3, 40, 48)
    axes = {key: {0: "n", 1: "h", 2: "w"} for key in ("input", "output")} if nhwc else ANY_SIZE
    module = _Scaled(foreign_models.dncnn(3), mean, deviation, nhwc=nhwc)
    file = export(module, tmp_path / "scaled.onnx", [example], axes=axes)
    model, _ = run_import(tmp_path, "--denoiser", file)
    assert f"range {name} (found by trial)" in capsys.readouterr().out
    _, noisy = noisy_picture(3)
    with torch.inference_mode():
        expected = foreign_models.dncnn(3)(torch.from_numpy(noisy[None]).permute(0, 3, 1, 2) / 255)
    pixels = (expected.clamp(0, 1) * 255).round().permute(0, 2, 3, 1).numpy()
    assert np.abs(model.denoise(noisy[None]) - pixels).max() <= 1


def test_float16_bgr_and_data_beside_the_file(tmp_path: Path) -> None:
    module = _Scaled(foreign_models.dncnn(3), [0.0], [1.0], bgr=True)
    file = export(module, tmp_path / "bgr.onnx", [torch.rand(1, 3, 40, 48)], axes=ANY_SIZE)
    half = convert_float_to_float16(onnx.load(file))
    onnx.save(half, tmp_path / "half.onnx", save_as_external_data=True, location="half.data", size_threshold=0)
    model, _ = run_import(tmp_path, "--denoiser", tmp_path / "half.onnx", "--order", "bgr")
    assert model.manifest.imported is not None
    assert set(model.manifest.imported.files) == {"half.onnx", "half.data"}
    _, noisy = noisy_picture(3)
    with torch.inference_mode():
        expected = foreign_models.dncnn(3)(torch.from_numpy(noisy[None]).permute(0, 3, 1, 2) / 255)
    pixels = expected.clamp(0, 1).permute(0, 2, 3, 1).numpy() * 255
    assert np.abs(model.denoise(noisy[None]) - pixels).mean() < 0.3, "float16, but the order is right"


def test_a_noise_map_is_a_constant_input_or_a_channel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    module = foreign_models.train_denoiser(FfdNet(), 3, extra=[FIFTH])
    axes = {"x": {0: "n", 2: "h", 3: "w"}, "sigma": {0: "n"}, "output": {0: "n", 2: "h", 3: "w"}}
    file = export(module, tmp_path / "ffdnet.onnx", [torch.rand(1, 3, 40, 48), FIFTH], names=("x", "sigma"), axes=axes)
    sentence = refusal(capsys, tmp_path, "--denoiser", file)
    assert "has the inputs x [?,3,?,?], sigma [?,1,1,1]" in sentence
    assert "--constant sigma=VALUE" in sentence
    assert "no input level" in refusal(capsys, tmp_path, "--denoiser", file, "--constant", "level=1")
    model, card = run_import(tmp_path, "--denoiser", file, "--constant", "sigma=0.1")
    assert "input sigma is always 0.1" in card
    _, noisy = noisy_picture(3, 41, 55)
    with torch.inference_mode():
        expected = module(torch.from_numpy(noisy[None]).permute(0, 3, 1, 2) / 255, FIFTH)
    pixels = (expected.clamp(0, 1) * 255).round().permute(0, 2, 3, 1).numpy()
    assert np.abs(model.denoise(np.stack([noisy, noisy]))[1] - pixels[0]).max() <= 1


class _WithMap(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.inner(torch.cat([x, torch.full_like(x[:, :1], 0.1)], 1))
        return output


def test_a_map_beside_the_channels_and_a_stride(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    inner = DruNet()
    foreign_models.train_denoiser(_WithMap(inner), 3, steps=250)
    file = export(inner, tmp_path / "drunet.onnx", [torch.rand(1, 4, 40, 48)], axes=ANY_SIZE)
    assert "--noise-map 0.1" in refusal(capsys, tmp_path, "--denoiser", file)
    model, _ = run_import(tmp_path, "--denoiser", file, "--noise-map", "0.1")
    assert model.strides == (4, 4)
    assert model.manifest.halo is not None
    _, noisy = noisy_picture(3, 82, 70)
    assert model.denoise(noisy[None]).shape == (1, 82, 70, 3)
    assert np.abs(denoise_in_tiles(model, noisy, 48).astype(int) - model.denoise(noisy[None])[0]).max() <= 1


# --- whole images, forced tiles --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def attention(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    module = foreign_models.train_denoiser(AttentionUnet(), 1)
    path = tmp_path_factory.mktemp("attention") / "unet.onnx"
    return export(module, path, [torch.rand(1, 1, 40, 48)], axes=ANY_SIZE)


def test_a_graph_that_looks_at_all_of_an_image_runs_it_whole_up_to_a_measured_size(
    attention: Path, tmp_path: Path
) -> None:
    model, card = run_import(tmp_path, "--denoiser", attention, "--max-pixels", 70_000)
    assert model.manifest.halo is None
    memory = model.manifest.memory
    assert memory is not None
    assert memory[0][0] == 128 * 128
    assert memory[-1][1] > 1e6, "attention over 4,096 tokens has 16.8 M weights"
    assert "group or instance normalisation, attention" in card


def test_forced_tiles_are_blended_and_their_seams_are_measured(attention: Path, tmp_path: Path) -> None:
    model, card = run_import(tmp_path, "--denoiser", attention, "--halo", 12)
    assert (model.manifest.halo, model.manifest.overlap) == (12, "blended")
    assert "tiles that overlap by --halo 12 differ from the whole image by" in card
    _, noisy = noisy_picture(1, 600, 400)
    tiled, whole = denoise_in_tiles(model, noisy, 256), model.denoise(noisy[None])[0]
    assert np.abs(tiled.astype(int) - whole).mean() < 4


# --- refusals --------------------------------------------------------------------------------------------


def test_what_is_not_a_graph_is_refused_with_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(DnCnn().state_dict(), tmp_path / "dncnn.pth")
    assert "is a pickle, which can run code" in refusal(capsys, tmp_path, "--denoiser", tmp_path / "dncnn.pth")
    torch.save(DnCnn().state_dict(), tmp_path / "renamed.onnx")
    assert "is a pickle" in refusal(capsys, tmp_path, "--denoiser", tmp_path / "renamed.onnx")
    for content in (b"", b"hello", b"\x08\x0a"):
        (tmp_path / "other.onnx").write_bytes(content)
        assert "is not an ONNX graph" in refusal(capsys, tmp_path, "--denoiser", tmp_path / "other.onnx")
    assert "cannot be read" in refusal(capsys, tmp_path, "--denoiser", tmp_path / "absent.onnx")


def test_super_resolution_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2))
    file = export(module, tmp_path / "sr.onnx", [torch.rand(1, 3, 32, 32)], axes=ANY_SIZE)
    sentence = refusal(capsys, tmp_path, "--denoiser", file)
    assert "192x128 of 96x64" in sentence
    assert "scale 1" in sentence


def test_custom_operators_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, "h", "w"]) for name in ("x", "y")]
    node = helper.make_node("DeformConv2d", ["x"], ["y"], domain="mmcv")
    graph = helper.make_graph([node], "g", value[:1], value[1:])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mmcv", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets), tmp_path / "custom.onnx")
    assert "mmcv::DeformConv2d" in refusal(capsys, tmp_path, "--denoiser", tmp_path / "custom.onnx")


class _FixedPatches(nn.Module):
    """Reshapes by the sizes that it was exported for."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(1, 3, 8, 4, 8, 4).mean((3, 5), keepdim=True).expand(1, 3, 8, 4, 8, 4).reshape(1, 3, 32, 32)


def test_a_size_in_the_nodes_is_refused_and_can_be_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = export(_FixedPatches(), tmp_path / "patches.onnx", [torch.rand(1, 3, 32, 32)])
    sentence = refusal(capsys, tmp_path, "--denoiser", file)
    assert "32x32 only" in sentence
    assert "dynamic_axes={'input': {0: 'N', 2: 'H', 3: 'W'}}" in sentence
    assert "--fixed-size" in sentence
    model, _ = run_import(tmp_path, "--denoiser", file, "--fixed-size")
    assert not model.any_size
    assert model.sample.shape[1:] == (32, 32, 3)


def test_what_is_no_picture_is_caught(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 3, 3, padding=1))
    file = export(module, tmp_path / "random.onnx", [torch.rand(1, 3, 32, 32)], axes=ANY_SIZE)
    sentence = refusal(capsys, tmp_path, "--denoiser", file)
    assert "what comes out of random.onnx is no picture" in sentence
    assert "correlation" in sentence
    model, card = run_import(tmp_path, "--denoiser", file, "--unchecked")
    assert model.manifest.operations == ("denoise",)
    assert "not checked" in card


def test_several_outputs_want_a_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = foreign_models.dncnn(3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = self.inner(x)
            return y, x - y

    file = export(Two(), tmp_path / "two.onnx", [torch.rand(1, 3, 32, 32)], outputs=("clean", "noise"))
    sentence = refusal(capsys, tmp_path, "--denoiser", file)
    assert "clean [1,3,32,32], noise [1,3,32,32]" in sentence
    assert "--output clean" in sentence
    assert "no output other" in refusal(capsys, tmp_path, "--denoiser", file, "--output", "other")
    model, _ = run_import(tmp_path, "--denoiser", file, "--output", "clean")
    assert model.any_size


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "give one of --denoiser"),
        (("--denoiser", "a.onnx", "--encoder", "b.onnx"), "give one of --denoiser"),
        (("--denoiser", "a.onnx", "--range", "0..7"), "is no range"),
        (("--denoiser", "a.onnx", "--constant", "sigma"), "write NAME=NUMBER"),
        (("--torch", "a.py:build"), "--torch needs --input"),
        (("--torch", "a.py:build", "--input", "3x"), "channels x height x width"),
        (("--denoiser", "a.onnx", "--samples", "absent"), "no such file or folder"),
        (("--denoiser", "a.onnx", "--weights", "w"), "--weights is for --torch"),
        (("--denoiser", "a.onnx", "--constant", "=1"), "write NAME=NUMBER"),
        (("--denoiser", "a.onnx", "--constant", "sigma=nan"), "no values of an input"),
        (("--encoder", "a.onnx", "--residual"), "--residual is for denoisers"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    words: tuple[str, ...], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sentence in refusal(capsys, tmp_path, *words)


def test_a_constant_fits_its_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = foreign_models.train_denoiser(FfdNet(), 3, extra=[FIFTH], steps=60)
    file = export(module, tmp_path / "ffdnet.onnx", [torch.rand(1, 3, 40, 48), FIFTH], names=("input", "sigma"),
                  axes=ANY_SIZE)  # fmt: skip
    np.save(tmp_path / "map.npy", np.ones((5, 7)))
    words = ("--denoiser", file, "--constant", f"sigma={tmp_path / 'map.npy'}")
    assert "has the shape [5, 7], the input takes [1,1,1,1]" in refusal(capsys, tmp_path, *words)
    both = ("--denoiser", file, "--constant", "sigma=0.1", "--constant", "input=1")
    assert "all of its inputs are constants" in refusal(capsys, tmp_path, *both)
    np.save(tmp_path / "one.npy", np.array([0.1]))
    expected, _ = run_import(tmp_path, "--denoiser", file, "--constant", "sigma=0.1")
    model, _ = run_import(tmp_path, "--denoiser", file, "--constant", f"sigma={tmp_path / 'one.npy'}")
    _, noisy = noisy_picture(3)
    np.testing.assert_array_equal(model.denoise(noisy[None]), expected.denoise(noisy[None]))


def test_a_range_may_begin_with_a_dash(tmp_path: Path) -> None:
    model, card = run_import(tmp_path, "--denoiser", make_blur(tmp_path), "--range", "-1..1", "--output-range", "0..1",
                             "--unchecked")  # fmt: skip
    assert "range -1..1 -> 0..1 (given)" in card
    assert model.manifest.imported is not None
    assert "-1..1" in model.manifest.imported.options


@pytest.mark.parametrize("operator", ["If", "Loop"])
def test_subgraphs_read_the_tensors_around_them(operator: str, tmp_path: Path) -> None:
    blur = helper.make_node("Conv", ["x", "kernel"], ["inner"], pads=[1] * 4, group=3)
    free = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    if operator == "If":
        other = helper.make_node("Identity", ["x"], ["inner"])
        branches: dict[str, Any] = {
            name: helper.make_graph([node], name, [], [free])
            for name, node in (("then_branch", blur), ("else_branch", other))
        }
        nodes = [helper.make_node("If", ["yes"], ["y"], **branches)]
    else:
        scalars = [helper.make_tensor_value_info("i", TensorProto.INT64, []),
                   helper.make_tensor_value_info("on", TensorProto.BOOL, []),
                   helper.make_tensor_value_info("state", TensorProto.FLOAT, None)]  # fmt: skip
        going = helper.make_node("Identity", ["on"], ["still"])
        still = helper.make_tensor_value_info("still", TensorProto.BOOL, [])
        body = helper.make_graph([blur, going], "body", scalars, [still, free])
        nodes = [helper.make_node("Loop", ["once", "yes", "x"], ["y"], body=body)]
    file = make_blur(tmp_path, nodes, kernel=BLUR, yes=np.array(True), once=np.array(1))
    graph = onnx.load(file)
    values = {"kernel": BLUR, "yes": np.array(True), "once": np.array(1)}
    names = {tensor.name for tensor in graph.graph.initializer}
    graph.graph.initializer.extend(onnx.numpy_helper.from_array(v, n) for n, v in values.items() if n not in names)
    onnx.save(graph, file)
    model, _ = run_import(tmp_path, "--denoiser", file)
    expected, _ = run_import(tmp_path, "--denoiser", make_blur(tmp_path))
    _, noisy = noisy_picture(3)
    assert np.abs(model.denoise(noisy[None]).astype(int) - expected.denoise(noisy[None])).max() <= 1


# --- graphs that answer the noise ------------------------------------------------------------------------


class Noise(nn.Module):
    """The noise that DnCNN predicts, in the range of its input."""

    def __init__(self, mean: float, deviation: float) -> None:
        super().__init__()
        self.network, self.mean, self.deviation = foreign_models.dncnn(3), mean, deviation

    def forward(self, x: Tensor) -> Tensor:
        pixels = x * self.deviation + self.mean
        noise: Tensor = (pixels - self.network(pixels)) / self.deviation
        return noise


@pytest.mark.parametrize(("mean", "deviation", "order"), [(0.0, 1.0, "rgb"), (0.5, 0.5, "bgr"), (0.0, 1 / 255, "rgb")])
def test_noise_is_subtracted_from_the_picture(mean: float, deviation: float, order: str, tmp_path: Path) -> None:
    file = export(Noise(mean, deviation), tmp_path / "noise.onnx", [torch.rand(1, 3, 40, 48)], axes=ANY_SIZE)
    model, card = run_import(tmp_path, "--denoiser", file, "--order", order)
    assert "answers the noise (found by trial)" in card
    clean, noisy = noisy_picture(3)
    pixels = noisy[..., ::-1] if order == "bgr" else noisy
    with torch.inference_mode():
        tensor = foreign_models.dncnn(3)(torch.from_numpy(pixels.copy())[None].permute(0, 3, 1, 2) / 255)
    expected = tensor[0].permute(1, 2, 0).numpy() * 255
    expected = expected[..., ::-1] if order == "bgr" else expected
    denoised = model.denoise(noisy[None])[0]
    assert np.abs(denoised - expected.clip(0, 255)).max() <= 1
    assert order == "bgr" or error(denoised, clean) < 0.7 * error(noisy, clean)


def test_a_picture_without_contrast_is_no_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nodes = [helper.make_node("Mul", ["x", "scale"], ["y"])]
    file = make_blur(tmp_path, nodes, scale=np.array(0.001, np.float32))
    assert "is no picture" in refusal(capsys, tmp_path, "--denoiser", file)


def test_a_division_by_the_mean_of_a_black_picture_is_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mean = helper.make_node("ReduceMean", ["x"], ["m"], axes=[1, 2, 3])  # of a black picture 0
    nodes = [mean, helper.make_node("Div", ["x", "m"], ["d"]), helper.make_node("Mul", ["d", "m"], ["y"])]
    assert "answers NaN or infinity" in refusal(capsys, tmp_path, "--denoiser", make_blur(tmp_path, nodes))


def test_a_zip_archive_is_no_pickle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with zipfile.ZipFile(tmp_path / "models.zip", "w") as archive:
        archive.writestr("denoiser.onnx", b"")
    assert "is a zip archive; unpack it" in refusal(capsys, tmp_path, "--denoiser", tmp_path / "models.zip")


# --- kinds that were met ---------------------------------------------------------------------------------

BLUR = np.tile(np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 16, (3, 1, 1, 1))
PORT: list[int | str] = ["N", 3, "H", "W"]


def make_blur(
    tmp_path: Path, nodes: list[onnx.NodeProto] | None = None, domain: str = "", dtype: int = TensorProto.FLOAT,
    shape: list[int | str] | None = PORT, **constants: np.ndarray,
) -> Path:  # fmt: skip
    """A graph x -> y; by default a blur, clipped to 0..1."""
    blur = helper.make_node("Conv", ["x", "kernel"], ["c"], pads=[1] * 4, group=3)
    nodes = nodes or [blur, helper.make_node("Clip", ["c", "low", "high"], ["y"])]
    values = {"kernel": BLUR, "low": np.float32(0), "high": np.float32(1), **constants}
    source, target = (helper.make_tensor_value_info(name, dtype, shape) for name in ("x", "y"))
    names = {name for node in nodes for name in node.input}
    tensors = [onnx.numpy_helper.from_array(np.asarray(v), name) for name, v in values.items() if name in names]
    graph = helper.make_graph(nodes, "blur", [source], [target], tensors)
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    if domain == "mine":
        body = [helper.make_node("Conv", ["x", "k"], ["y"], pads=[1] * 4, group=3)]
        model.functions.append(helper.make_function("mine", "Blur", ["x", "k"], ["y"], body, opsets[:1]))
    onnx.save(model, tmp_path / "blur.onnx")
    return tmp_path / "blur.onnx"


@pytest.mark.parametrize(
    ("domain", "node"),
    [
        ("com.microsoft", {"op_type": "FusedConv", "pads": [1] * 4, "group": 3, "activation": "Relu"}),
        ("mine", {"op_type": "Blur"}),
    ],
)
def test_operators_of_onnxruntime_and_functions_of_the_graph_are_taken(
    domain: str, node: dict[str, Any], tmp_path: Path
) -> None:
    nodes = [helper.make_node(**node, inputs=["x", "kernel"], outputs=["y"], domain=domain)]
    model, _ = run_import(tmp_path, "--denoiser", make_blur(tmp_path, nodes, domain))
    clean, noisy = noisy_picture(3)
    assert error(model.denoise(noisy[None])[0], clean) < 0.5 * error(noisy, clean)


def test_a_graph_of_the_first_format_is_converted(tmp_path: Path) -> None:
    blur = helper.make_node("Conv", ["x", "kernel"], ["c"], pads=[1] * 4, group=3)
    path = make_blur(tmp_path, [blur, helper.make_node("Clip", ["c"], ["y"], min=0.0, max=1.0)])
    model = onnx.load(path)
    model.ir_version = 3
    model.opset_import[0].version = 7
    onnx.save(model, path)
    run_import(tmp_path, "--denoiser", path)


def test_what_is_wrong_with_a_graph_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blur = helper.make_node("Conv", ["x", "kernel"], ["c"], pads=[1] * 4, group=3)
    noise = helper.make_node("RandomNormalLike", ["c"], ["r"], scale=0.02)
    path = make_blur(tmp_path, [blur, noise, helper.make_node("Add", ["c", "r"], ["y"])])
    assert "answers differently each time" in refusal(capsys, tmp_path, "--denoiser", path)
    path = make_blur(tmp_path, [blur, helper.make_node("Div", ["c", "low"], ["y"])])
    assert "answers NaN or infinity" in refusal(capsys, tmp_path, "--denoiser", path, "--unchecked")
    cast = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.BFLOAT16)
    path = make_blur(tmp_path, [cast], dtype=TensorProto.BFLOAT16)
    assert "has x in bfloat16; export it with float32" in refusal(capsys, tmp_path, "--denoiser", path)
    path = make_blur(tmp_path, shape=None)
    assert "does not state the axes of x" in refusal(capsys, tmp_path, "--denoiser", path)
    wide = helper.make_node("Conv", ["x", "kernel"], ["y"], pads=[1] * 4, group=4)
    path = make_blur(tmp_path, [wide], shape=["N", 4, "H", "W"], kernel=np.tile(BLUR[:1], (4, 1, 1, 1)))
    assert "--noise-map" in refusal(capsys, tmp_path, "--denoiser", path)
