"""The store of packages in a folder: keys, files, and nothing outside a package."""

import errno
from pathlib import Path

import pytest

from service.model.errors import ManifestError
from service.repository.store import FolderStore
from tests.service.signals import write_signal


def test_keys_are_names_and_versions(signal_models: Path) -> None:
    write_signal(signal_models, 2)
    (signal_models / "signal" / ".3").mkdir()
    (signal_models / "signal" / "default").write_text("1")
    store = FolderStore(signal_models)
    assert store.list_packages() == sorted(store.snapshot()) == ["signal/1", "signal/2"]
    assert store.default_versions() == {"signal": 1}
    assert store.read_manifest("signal/2").version == store.read("signal/2").manifest.version == 2
    with pytest.raises(ManifestError):
        store.read_manifest("signal/4")


def test_a_snapshot_changes_with_a_file(signal_models: Path) -> None:
    store = FolderStore(signal_models)
    snapshot = store.snapshot()
    assert store.snapshot() == snapshot
    (signal_models / "signal" / "1" / "README.md").write_bytes(b"# another card\n")
    assert store.snapshot() != snapshot


def test_only_plain_files_are_listed_and_read(signal_models: Path, tmp_path: Path) -> None:
    package = signal_models / "signal" / "1"
    (package / "folder").mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    (package / "link").symlink_to(tmp_path / "secret")
    store = FolderStore(signal_models)
    assert store.list_files("signal/1")["README.md"] == len(b"# double\n")
    assert not {"folder", "link"} & store.list_files("signal/1").keys()
    assert store.list_files("signal/9") == {}
    assert store.read_file("signal/1", "README.md", 9) == b"# double\n"
    for name, max_bytes, number in (
        ("link", 9, errno.ELOOP),
        ("README.md", 8, errno.EFBIG),
        ("folder", 9, errno.EISDIR),
        ("none", 9, errno.ENOENT),
    ):
        with pytest.raises(OSError) as caught:
            store.read_file("signal/1", name, max_bytes)
        assert caught.value.errno == number
