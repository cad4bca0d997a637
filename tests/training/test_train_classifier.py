"""`autoencoder-train classify`: strokes in four places, told apart from few labels."""

import json
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import safetensors.numpy
import torch
from numpy.typing import NDArray
from PIL import Image

from tests.drawings import small_recipe
from training import train_classifier
from training.__main__ import main
from training.architectures.autoencoder import build
from training.architectures.classifier import Classifier
from training.data import labels
from training.recipe import AutoencoderData, Classification, Dense, Optimization
from training.recipe import build as recipe_of
from training.train_classifier import Outcome

NAMES = ("top", "bottom", "left", "right")


def strokes(count: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """uint8 [count,12,12] of a stroke along one side, on weak noise, all different, and which side, uint8 [count]."""
    generator = np.random.default_rng(0)
    images, sides = generator.integers(0, 60, (count, 12, 12), np.uint8), (np.arange(count) % 4).astype(np.uint8)
    for image, side in zip(images, sides, strict=True):
        place = int(generator.integers(0, 5))
        line = np.s_[place, :] if side < 2 else np.s_[:, place]
        image[line] = 255
        if side % 2:
            image[:] = image[::-1, ::-1]
    return images, sides


@pytest.fixture
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with strokes.npz and small.toml (random and fine-tuned and frozen, two seeds)."""
    monkeypatch.chdir(tmp_path)
    images, sides = strokes(600)
    np.savez(tmp_path / "strokes.npz", images=images, labels=sides, names=np.array(NAMES))
    (tmp_path / "small.toml").write_text(
        """
name = "small"
kind = "stacked"
description = "A small one, for tests."
data = { source = "strokes.npz" }
architecture = { type = "dense", hidden = [32], latent_dim = 8, activation = "relu" }
pretraining = { epochs = 2 }
optimization = { epochs = 4, batch_size = 32, learning_rate = 3e-3 }

[classification]
labels = [3, 40]
seeds = 2
dropout = 0.1
masking = 0.1
optimization = { epochs = 25, batch_size = 32, learning_rate = 1e-2 }
"""
    )
    return tmp_path


def test_it_learns_reports_every_start_and_exports_what_torch_answers(
    working_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["classify", "small.toml"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == "| labels of each class | random | frozen | fine-tuned |"
    rows = {int(cells[1]): [float(cell.split(" ± ")[0]) for cell in cells[2:5]] for cells in map(_cells, lines[4:6])}
    assert set(rows) == {3, 40}
    assert all(
        error_of_many <= error_of_few for error_of_few, error_of_many in zip(rows[3], rows[40], strict=True)
    )  # more labels, fewer errors
    assert rows[40][0] < 10  # a guess is wrong 75 times of 100
    assert rows[40][2] < 10

    out = working_folder / "classifiers" / "small"
    report = json.loads((out / "report.json").read_text())
    assert report["classes"] == list(NAMES)
    outcomes = [Outcome(**entry) for entry in report["outcomes"]]
    assert {(o.start, o.labels, o.seed) for o in outcomes} == {
        (start, label_count, seed)
        for start in ("random", "frozen", "fine-tuned")
        for label_count in (3, 40)
        for seed in (0, 1)
    }
    test = [o.test for o in outcomes if o.labels == 40 and o.start == "random" and o.test is not None]
    assert rows[40][0] == pytest.approx(100 * np.mean(test), abs=0.006)

    data = labels.load(AutoencoderData(source="strokes.npz"))
    session = onnxruntime.InferenceSession(out / "classifier.onnx")
    probabilities = session.run(["probabilities"], {"image": data.dataset.test})[0]
    assert probabilities.shape == (len(data.test), 4)
    assert np.allclose(probabilities.sum(1), 1, atol=1e-5)
    best = min(outcomes, key=lambda o: o.validation)
    assert best.test is not None
    assert (probabilities.argmax(1) != data.test).mean() == pytest.approx(best.test)
    assert np.asarray(Image.open(out / "curve.png")).std() > 5


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")]


def test_an_encoder_goes_along_as_safetensors_or_as_a_package(
    working_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["small.toml"]) == 0
    quick = ["--set", "classification.labels=[]", "--set", "classification.seeds=1"]
    assert main(["classify", "small.toml", "--tune", *quick]) == 0
    file = working_folder / "classifiers" / "small" / "encoder.safetensors"
    weights = safetensors.numpy.load_file(file)
    assert {name: value.shape for name, value in weights.items()} == {
        "1.0.weight": (32, 144), "1.0.bias": (32,), "2.0.weight": (8, 32), "2.0.bias": (8,),
    }  # fmt: skip
    # the same run that left the package: its checkpoint is taken, and nothing is trained again
    weights_of_package = train_classifier._read_package_weights(Path("models/small"))
    assert all(np.array_equal(weights_of_package[name], value) for name, value in weights.items())
    tables = []
    for encoder in (str(file), "models/small"):
        capsys.readouterr()
        assert (
            main(["classify", "small.toml", "--tune", "--encoder", encoder, "--runs", encoder + "-runs", *quick]) == 0
        )
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1]
    assert not (
        working_folder / "classifiers" / "small" / "classifier.onnx"
    ).exists()  # --tune leaves the test split alone


def test_a_frozen_encoder_stays_as_it_is_and_others_learn() -> None:
    images, sides = strokes(80)
    classification = Classification(optimization=Optimization(epochs=1, batch_size=16), dropout=0.2)
    architecture = Dense(hidden=(16,), latent_dim=8, batch_norm=True)
    for frozen in (True, False):
        autoencoder = build(architecture, images[..., None])
        module = Classifier(autoencoder, 8, 4, classification, frozen=frozen)
        initial = {name: tensor.clone() for name, tensor in module.encoder.state_dict().items()}
        pair = (images[..., None], sides.astype(np.int64))
        file = Path("never")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("training.engine.checkpoint.save", lambda *_: None)
            train_classifier.fit_classifier(
                module, pair, pair, classification, seed=0, file=file, fingerprint="", title=""
            )
        same = [torch.equal(initial[name], tensor) for name, tensor in module.encoder.state_dict().items()]
        assert all(same) if frozen else not any(same)


def test_few_labels_get_more_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.engine.checkpoint.save", lambda *_: None)
    images, sides = strokes(64)
    for steps, epochs in ((0, 2), (3, 2), (9, 5)):
        classification = Classification(optimization=Optimization(epochs=2, batch_size=32), steps=steps)
        module = Classifier(build(Dense(latent_dim=4), images[..., None]), 4, 4, classification, frozen=True)
        pair = (images[..., None], sides.astype(np.int64))
        history = train_classifier.fit_classifier(
            module, pair, pair, classification, seed=0, file=Path("never"), fingerprint="", title=""
        )
        assert len(history.loss) == epochs


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (["--set", "classification=none"], r"small has no section \[classification\]"),
        (["--set", "data.source=images.npy"], "has no labels"),
        (["--set", "data.source=short.npz"], "one whole number from 0 for each of the 600 samples"),
        (["--set", "data.source=unnamed.npz"], "2 names for 4 classes"),
        (["--set", "classification.dropout=1"], "classification.dropout: Input should be less than 1"),
        (["--encoder", "nowhere.safetensors"], "nowhere.safetensors cannot be read as safetensors"),
        (["--encoder", "small.toml"], "small.toml cannot be read as safetensors"),
        (["--encoder", "other.safetensors"], "not an encoder of the architecture of recipe small"),
        (["--encoder", "."], "holds no package"),
    ],
)
def test_what_a_user_can_put_right_is_one_line(
    working_folder: Path, changes: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    images, sides = strokes(600)
    np.save("images.npy", images)
    np.savez("short.npz", images=images, labels=sides[:-1])
    np.savez("unnamed.npz", images=images, labels=sides, names=np.array(NAMES[:2]))
    safetensors.numpy.save_file({"1.0.weight": np.zeros((3, 3), np.float32)}, "other.safetensors")
    assert main(["classify", "small.toml", *changes]) == 2
    message = capsys.readouterr().err
    assert re.search(sentence, message)
    assert message.startswith("autoencoder-train: ")
    assert message.count("\n") == 1


def test_what_the_classifier_is_told_does_not_touch_the_autoencoder(working_folder: Path) -> None:
    plain = recipe_of(small_recipe("strokes.npz"), {}, "a")
    with_classification = recipe_of(
        small_recipe("strokes.npz", classification={"optimization": {"epochs": 3}}), {}, "a"
    )
    assert plain.digest == with_classification.digest
