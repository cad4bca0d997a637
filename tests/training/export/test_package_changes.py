"""A change of a package is whole, or leaves the package as it was."""

import shutil
from pathlib import Path

import pytest

from service.model import package
from training.errors import DiskError
from training.export import package_changes

PACKAGE = Path(__file__).parents[3] / "models" / "cats-stacked" / "1"


def test_a_file_that_cannot_be_written_leaves_the_manifest_as_it_was(tmp_path: Path) -> None:
    directory = tmp_path / "cats-stacked" / "1"
    shutil.copytree(PACKAGE, directory)
    before = (directory / package.MANIFEST).read_bytes()
    facts = package.read(directory).manifest.model_copy(update={"description": "other"})
    with pytest.raises(DiskError):
        package_changes.write(directory, facts, [("decoder.onnx/in-a-file.npz", b"", "the file")])
    assert (directory / package.MANIFEST).read_bytes() == before
    package_changes.write(directory, facts)
    assert package.read(directory).manifest.description == "other"


def test_the_first_package_that_fails_ends_the_command_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def change(directory: Path) -> str:
        if directory.name == "bad":
            raise DiskError("full")
        return "changed"

    assert package_changes.run("module", [Path("good"), Path("bad"), Path("later")], change) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("good: changed\n", "module: full\n")
