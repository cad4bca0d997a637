"""The folder models/: what is a package, what is a default version."""

import os
from pathlib import Path

from service.repository.layout import list_packages, read_default_versions, snapshot_files
from service.repository.registry import RejectedPackage


def test_folders_of_names_and_versions_are_packages_and_nothing_else(tmp_path: Path) -> None:
    for folder in ("b/2", "b/1", "a/1", ".writing-x/c", "a/.old", "empty"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "README.md").touch()
    (tmp_path / "a" / "default").write_text("1")
    assert list_packages(tmp_path) == [tmp_path / "a/1", tmp_path / "b/1", tmp_path / "b/2"]


def test_a_default_is_one_whole_number(tmp_path: Path) -> None:
    for name, text in (("a", "12\n"), ("b", "latest"), ("c", None)):
        (tmp_path / name).mkdir()
        if text is not None:
            (tmp_path / name / "default").write_text(text)
    sentence = "b/default must hold one whole number, a version; its highest version is served"
    assert read_default_versions(tmp_path) == {"a": 12, "b": RejectedPackage("b/default", sentence)}


def test_a_default_that_is_a_pipe_or_has_no_end_is_not_followed_and_not_waited_for(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "a" / "default")
    (tmp_path / "b" / "default").symlink_to("/dev/zero")
    for name, package in read_default_versions(tmp_path).items():
        assert isinstance(package, RejectedPackage)
        assert package.reason == f"{name}/default cannot be read: it is a pipe or a device, not a file"


def test_a_removed_package_has_no_snapshot(tmp_path: Path) -> None:
    assert snapshot_files(tmp_path / "a") is None
