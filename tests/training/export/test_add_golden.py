from pathlib import Path

import pytest

from service.model import package
from tests.training.export import packages
from training.export import add_golden
from training.export.package import write
from training.recipe import Dense


def test_a_package_without_a_golden_pair_gets_one_and_keeps_its_graphs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, graphs, manifest = packages.export(Dense(latent_dim=4), packages.IMAGES)
    directory = package.write(tmp_path, manifest, graphs, {"README.md": b"# small"})
    assert package.read(directory).manifest.golden is None
    assert add_golden.main([str(directory)]) == 0
    assert add_golden.main([str(directory)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{directory}: golden pair added",
        f"{directory}: has a golden pair already",
    ]
    loaded = package.read(directory)
    assert loaded.graphs == graphs
    reference = package.read(write(tmp_path / "again", manifest, graphs, {}))
    assert loaded.manifest.model_dump() == reference.manifest.model_dump()


def test_a_folder_without_a_package_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add_golden.main([str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("training.export.add_golden: ")
    assert error.count("\n") == 1
