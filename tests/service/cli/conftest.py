"""Fixtures of the commands on files: a models folder, a folder of images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from service.cli.main import main
from tests.service import packages as doubles


@pytest.fixture(scope="module")
def file_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return doubles.write_for_files(tmp_path_factory.mktemp("models"))


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Three pictures, one in a folder below, one of a format that is only read, and a note."""
    folder = tmp_path / "scans"
    (folder / "old").mkdir(parents=True)
    for number, name in enumerate(("a.png", "old/b.jpg", "c.bmp")):
        Pillow.fromarray(np.full((28, 28), 40 * (number + 1), np.uint8)).save(folder / name)
    (folder / "note.txt").write_text("no picture")
    return folder


def run(models: Path, *arguments: str | Path) -> int:
    return main([*map(str, arguments), "--models", str(models)])
