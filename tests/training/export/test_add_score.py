from dataclasses import replace
from pathlib import Path

import pytest

from service.model import package
from service.model.runtime import Model
from tests.training.export import packages
from training.errors import TrainingError
from training.export import add_score
from training.recipe import Dense


def test_a_package_without_a_score_gets_one_and_keeps_its_graphs(tmp_path: Path) -> None:
    _, graphs, manifest = packages.export(Dense(latent_dim=4), packages.IMAGES)
    directory = package.write(tmp_path, manifest, graphs, {"README.md": b"# small"})
    data = packages.split_dataset(packages.IMAGES)
    assert Model(package.read(directory), "cpu").score_name == "error"
    name = add_score.add(directory, data)
    loaded = package.read(directory)
    assert loaded.graphs == graphs
    assert loaded.manifest.score is not None
    assert Model(loaded, "cpu").score_name == loaded.manifest.score.name == name
    assert loaded.manifest.model_copy(update={"score": None}) == manifest
    assert add_score.add(directory, data) is None
    assert add_score.add(directory, data, is_replaced=True) == name


def test_other_data_and_unknown_recipes_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, graphs, manifest = packages.export(Dense(latent_dim=4), packages.IMAGES)
    directory = package.write(tmp_path, manifest, graphs, {})
    right = packages.split_dataset(packages.IMAGES)
    wrong = replace(right, train=right.train[:50], validation=right.train[:30])
    with pytest.raises(TrainingError, match="50, 30 and 20: give the same data"):
        add_score.add(directory, wrong)
    assert add_score.main([str(directory)]) == 2  # there is no recipe `small`
    assert add_score.main([str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("training.export.add_score: ") for line in lines)
    assert package.read(directory).manifest.score is None
