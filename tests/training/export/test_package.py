import datetime
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from service.model import package
from service.model.kinds import KINDS
from service.model.manifest import Data, Manifest, Metric, Role, Training
from service.model.runtime import Model
from tests.drawings import drawings, waves
from training.architectures.autoencoder import Autoencoder, build
from training.data.datasets import Dataset
from training.errors import DiskError, ParityError
from training.export import package as export
from training.recipe import Convolutional, Dense

IMAGES = drawings(100)[..., None]
VECTORS = waves(100)
TRAINING = Training(
    recipe="small", recipe_sha256="0" * 64, seed=0, date=datetime.date(2026, 1, 1).isoformat(), code_revision="test",
    data=Data(source="drawn", licence="ours", train=60, validation=20, test=20), versions={},
)  # fmt: skip
METRICS = {"reconstruction_mse": Metric(value=0.1, unit="mse", split="test")}


def dataset(samples: np.ndarray) -> Dataset:
    return Dataset("drawn", "ours", samples[:60], samples[60:80], samples[80:])


def made(architecture: Dense | Convolutional, samples: np.ndarray) -> tuple[Autoencoder, dict[Role, bytes], Manifest]:
    torch.manual_seed(0)
    autoencoder = build(architecture, samples[:60]).eval()
    graphs = export.graphs(autoencoder, samples)
    errors = export.held_out_errors(autoencoder, dataset(samples))
    return (
        autoencoder,
        graphs,
        export.manifest("small", 1, "stacked", "Small.", graphs, TRAINING, METRICS, errors, None),
    )


@pytest.mark.parametrize(
    ("architecture", "samples"),
    [
        (Dense(latent_dim=4, hidden=(16,), tied=True, batch_norm=True), IMAGES),
        (Dense(latent_dim=4, hidden=(16,), centered=True), IMAGES),
        (Convolutional(latent_dim=4, channels=(4, 8), hidden=8), drawings(100, size=13)[..., None]),
        (Convolutional(latent_channels=2, channels=(4,), encoder_blocks=(1,), decoder_blocks=(1,)), VECTORS),
    ],
    ids=["tied dense images", "centred dense images", "convolutional odd-sized images", "convolutional vectors"],
)
def test_the_exported_graphs_answer_as_torch_does(architecture: Dense | Convolutional, samples: np.ndarray) -> None:
    autoencoder, graphs, manifest = made(architecture, samples)
    model, parity = export.open_checked(autoencoder, dataset(samples), manifest, graphs)
    assert parity.output <= (1 if samples.dtype == np.uint8 else 1e-3)
    for count in (1, 7):
        with torch.inference_mode():
            expected = autoencoder.encode(torch.from_numpy(samples[:count])).numpy()
        np.testing.assert_allclose(model.encode(samples[:count]), expected, atol=1e-4)


def test_a_package_that_answers_otherwise_than_torch_is_not_written() -> None:
    autoencoder, graphs, manifest = made(Dense(latent_dim=4), IMAGES)
    with torch.no_grad():
        nn.init.constant_(autoencoder.decoder[0][0].bias, 0.5)  # type: ignore[index]
    with pytest.raises(ParityError, match="no package was written"):
        export.open_checked(autoencoder, dataset(IMAGES), manifest, graphs)


def test_graphs_hold_no_paths_and_are_the_same_each_time() -> None:
    _, graphs, _ = made(Dense(latent_dim=4), IMAGES)
    _, again, _ = made(Dense(latent_dim=4), IMAGES)
    assert graphs == again
    for graph in graphs.values():
        assert b".py" not in graph
        assert str(Path.cwd()).encode() not in graph
        assert not onnx.load_model_from_string(graph).metadata_props


def test_the_written_package_is_the_one_that_was_checked(tmp_path: Path) -> None:
    autoencoder, graphs, manifest = made(Dense(latent_dim=4), IMAGES)
    directory = export.write(tmp_path, manifest, graphs, {"README.md": b"# small"})
    loaded = package.read(directory)
    assert loaded.graphs == graphs
    result = Model(loaded, "cpu").reconstruct(IMAGES[80:])
    np.testing.assert_allclose(result.error, export.held_out_errors(autoencoder, dataset(IMAGES)), atol=1e-4)
    assert 40 < np.median(result.percentile) < 60


def test_a_denoising_package_offers_denoise_and_others_do_not() -> None:
    assert "denoise" in KINDS["denoising"].operations
    assert "denoise" not in KINDS["stacked"].operations


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, graphs, manifest = made(Dense(latent_dim=4), IMAGES)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DiskError, match="No space left on device"):
        export.write(tmp_path, manifest, graphs, {})
    assert list(tmp_path.iterdir()) == []
