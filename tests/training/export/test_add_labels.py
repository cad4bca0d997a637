from pathlib import Path

import numpy as np
import pytest

from service.model import package
from service.model.manifest import Label, Metric
from tests.training.export import packages
from training.engine.loop import History
from training.evaluation import figures
from training.evaluation.figures import Drawing
from training.export import add_labels
from training.recipe import Dense

METRICS = {
    "reconstruction_mse": Metric(
        value=0.0412, unit="mean squared error, pixels in 0..1", split="test", baselines={"PCA 4": 0.0531}
    ),
    "denoising_rmse_own_pages": Metric(value=0.1, unit="rmse", split="test", baselines={"stacked": 0.2}),
}


def draw_all(held_out: int) -> dict[str, Drawing]:
    """A figure of each form, as training draws them."""
    generator = np.random.default_rng(0)
    history = History(loss=[3.0, 2.0, 1.0], validation=[3.1, 2.5, 2.6], best=1)
    curves = [(f"pretraining, layer {number}", history) for number in (1, 2, 3)]
    latents = generator.normal(size=(10, 8)).astype(np.float32)
    images = packages.IMAGES[:10]
    errors = generator.uniform(0, 0.08, held_out)
    errors += 0.0412 - errors.mean()
    page = np.repeat(packages.IMAGES[0], 12, axis=1)
    baselines = [("PCA 4", 0.0531)]
    return {
        "reconstructions.png": figures.draw_rows([("original", images), ("latent", latents)]),
        "walks.png": figures.draw_rows([("this model", images), ("stacked", images)] * 2),
        "learning_curve.png": figures.draw_learning_curve([*curves, ("fine-tuning", history)], "error"),
        "error_histogram.png": figures.draw_error_histogram(errors, baselines, METRICS["reconstruction_mse"].unit),
        "before-after.webp": figures.draw_before_after([("own pages", page, page, page)] * 2),
        "samples.png": figures.draw_grid(images),
    }


def by_place(labels: tuple[Label, ...]) -> list[Label]:
    return sorted(labels, key=lambda label: (label.text, label.left, label.top))


def test_words_are_found_where_training_wrote_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, graphs, facts = packages.export(Dense(latent_dim=4), packages.IMAGES)
    facts = facts.model_copy(update={"evaluation": METRICS})
    drawings = draw_all(facts.held_out_samples)
    files = {name: drawing.picture for name, drawing in drawings.items()}
    directory = package.write(tmp_path, facts, graphs, files)
    assert add_labels.main([str(directory)]) == 0
    found = package.read(directory).manifest.labels
    assert found is not None
    assert found.keys() == files.keys() - {"samples.png"}
    for name, labels in found.items():
        expected, actual = by_place(drawings[name].labels), by_place(labels)
        assert [label.text for label in actual] == [label.text for label in expected]
        for one, other in zip(expected, actual, strict=True):
            assert (one.align, one.turn) == (other.align, other.turn), one.text
            first, second = (np.array([label.left, label.top, label.right, label.bottom]) for label in (one, other))
            assert np.abs(first - second).max() <= 2, one.text
    assert {name: (directory / name).read_bytes() for name in files} == files
    count = sum(map(len, found.values()))
    assert add_labels.main([str(directory)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{directory}: places of {count} words added",
        f"{directory}: has places of words already",
    ]


def test_a_picture_of_something_else_has_no_words(tmp_path: Path) -> None:
    _, _, facts = packages.export(Dense(latent_dim=4), packages.IMAGES)
    history = History(loss=[3.0, 2.0], validation=[3.1, 2.5], best=1)
    path = tmp_path / "learning_curve.png"
    path.write_bytes(figures.draw_learning_curve([("Lernkurve", history)], "Fehler").picture)
    assert {label.text for label in add_labels.find_labels(path, facts)} == {
        "epoch",
        "training error (corrupted, augmented)",
        "validation error",
    }
    path.write_bytes(figures.draw_grid(packages.IMAGES[:1]).picture)  # smaller than some words
    assert add_labels.find_labels(path, facts) == ()


def test_a_folder_without_a_package_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add_labels.main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("training.export.add_labels: ")
    assert error.count("\n") == 1
