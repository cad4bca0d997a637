from pathlib import Path

import numpy as np
import pytest

from service.model import package
from service.model.kinds import KINDS
from service.model.runtime import Model
from tests.training.export import packages
from training.errors import DiskError
from training.evaluation.autoencoders import reconstruction_errors
from training.export.package import publish, write
from training.recipe import Dense


def test_the_written_package_is_the_one_that_was_checked(tmp_path: Path) -> None:
    autoencoder, graphs, manifest = packages.export(Dense(latent_dim=4), packages.IMAGES)
    directory = write(tmp_path, manifest, graphs, {"README.md": b"# small"})
    loaded = package.read(directory)
    assert loaded.graphs == graphs
    result = Model(loaded, "cpu").reconstruct(packages.IMAGES[80:])
    np.testing.assert_allclose(
        result.error, reconstruction_errors(autoencoder, packages.split_dataset(packages.IMAGES)), atol=1e-4
    )
    assert 40 < np.median(result.percentile) < 60


def test_a_denoising_package_offers_denoise_and_others_do_not() -> None:
    assert "denoise" in KINDS["denoising"].operations
    assert "denoise" not in KINDS["stacked"].operations


def test_of_two_runs_that_end_together_each_leaves_a_package(tmp_path: Path) -> None:
    _, graphs, manifest = packages.export(Dense(latent_dim=4), packages.IMAGES)
    directories = [publish(tmp_path, manifest, graphs, {}, "", "They agree.") for _ in range(3)]
    assert [directory.name for directory in directories] == ["1", "2", "3"]
    for version, directory in enumerate(directories, 1):
        assert package.read(directory).manifest.version == version
        assert f"version {version}" in (directory / "README.md").read_text().splitlines()[0]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, graphs, manifest = packages.export(Dense(latent_dim=4), packages.IMAGES)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DiskError, match="No space left on device"):
        write(tmp_path, manifest, graphs, {})
    assert list(tmp_path.iterdir()) == []
