"""Absurd and damaged .npy and .npz files: one sentence that names the file, and no memory for what is only declared."""

import io
import os
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.data.sample_files import load_dataset
from training.data import memory
from training.data.files import numpy_files, readers
from training.errors import DataError

MIB = 2**20


def npy(header: str | bytes, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    text = header.encode() if isinstance(header, str) else header
    width = 2 if version == (1, 0) else 4
    return b"\x93NUMPY" + bytes(version) + len(text).to_bytes(width, "little") + text + data


def described(shape: str, descr: str = "'|u1'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}\n"


ABSURD = {
    "huge": npy(described("(10**0, 99999999999999)"), b"123"),
    "beyond-64-bits": npy(described(f"({10**30}, 28)"), b"123"),
    "product-wraps": npy(described(f"({2**33}, {2**33})"), b"123"),
    "negative": npy(described("(-1, 28)"), bytes(28)),
    "negative-twice": npy(described("(-4, -7)"), bytes(28)),
    "empty-and-huge": npy(described(f"(0, {10**30})")),
    "real-size": npy(described("(2.5, 3)"), bytes(10)),
    "size-of-text": npy(described("('a', 3)"), bytes(10)),
    "no-tuple": npy(described("7"), bytes(10)),
    "objects": npy(described("(2,)", "'|O'"), b"\x80\x04N."),
    "objects-in-fields": npy(described("(2,)", "[('a', '|O'), ('b', '<f4')]"), bytes(24)),
    "fields": npy(described("(2,)", "[('a', '<u2')]"), bytes(4)),
    "no-dtype": npy(described("(2,)", "'nonsense'"), bytes(4)),
    "text": npy(described("(2,)", "'<U4'"), bytes(32)),
    "no-width": npy(described(f"({10**12},)", "'|S0'")),
    "no-literal": npy("{'descr': open('/etc/passwd'), 'fortran_order': False, 'shape': (1,)}\n", b"1"),
    "no-dict": npy("[]\n", b"1"),
    "other-keys": npy("{'descr': '|u1', 'shape': (1,)}\n", b"1"),
    "deep": npy("(" * 5000 + ")" * 5000, b"1"),
    "bad-tokens": npy("{'descr': '''\n", b"1"),
    "long-header": npy(b" " * 20_000 + b"\n", b"1", (2, 0)),
    "header-of-4-gib": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{",
    "version-9": npy(described("(3,)"), b"123", (9, 0)),
    "no-header": b"\x93NUMPY\x01\x00",
    "magic-only": b"\x93NUMPY",
    "nothing": b"",
    "not-utf8-fields": npy(b"{'descr': [('\xff', '<f4')], 'fortran_order': False, 'shape': (1,)}\n", bytes(4), (3, 0)),
}


@pytest.mark.parametrize("name", ABSURD)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_an_absurd_header_is_one_sentence_and_takes_no_memory(tmp_path: Path, name: str, suffix: str) -> None:
    path = tmp_path / f"{name}{suffix}"
    if suffix == ".npy":
        path.write_bytes(ABSURD[name])
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("images.npy", ABSURD[name])
    tracemalloc.start()
    with pytest.raises(DataError) as refusal:
        load_dataset(path)
    assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    tracemalloc.stop()
    assert path.name in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("order", ["True", "False"])
def test_every_version_and_order_is_read_as_numpy_reads_it(
    tmp_path: Path, version: tuple[int, int], order: str
) -> None:
    data = npy(described("(2, 3, 4)", "'>i2'", order), np.arange(24, dtype=">i2").tobytes(), version)
    (tmp_path / "a.npy").write_bytes(data)
    np.testing.assert_array_equal(numpy_files.read_npy(tmp_path / "a.npy"), np.load(io.BytesIO(data)))


def _read_or_none(path: Path) -> np.ndarray[Any, Any] | None:
    """The array, or None after a refusal in one sentence that names the file."""
    try:
        return readers.read_numpy(path)[0]
    except DataError as refusal:
        sentence = str(refusal)
    assert path.name in sentence
    assert "\n" not in sentence
    return None


def _is_read_or_refused(path: Path, expected: np.ndarray[Any, Any]) -> bool:
    """Whether the samples were read, with the same shape; False after one sentence."""
    array = _read_or_none(path)
    if array is None:
        return False
    return array.shape == expected.shape and array.dtype == expected.dtype and bool((array == expected).all())


def test_every_flipped_byte_and_every_cut_of_an_npz_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    images = np.arange(60, dtype=np.uint8).reshape(5, 3, 4)
    np.savez_compressed(tmp_path / "a.npz", images=images)
    data = (tmp_path / "a.npz").read_bytes()
    path = tmp_path / "b.npz"
    for position in range(len(data)):
        for mask in (0xFF, 0x01, 0x80):
            changed = bytearray(data)
            changed[position] ^= mask
            path.write_bytes(changed)
            if not _is_read_or_refused(path, images):
                with pytest.raises(DataError):
                    readers.read_numpy(path)
        path.write_bytes(data[:position])
        with pytest.raises(DataError):
            readers.read_numpy(path)


def test_every_flipped_byte_of_a_header_is_one_sentence_or_an_array_that_fits_the_file(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(60, dtype=np.uint8).reshape(5, 3, 4))
    data = (tmp_path / "a.npy").read_bytes()
    path = tmp_path / "b.npy"
    refusals = 0
    for position in range(128):
        for value in (0, 32, 45, 57, 76, 255):
            path.write_bytes(data[:position] + bytes([value]) + data[position + 1 :])
            array = _read_or_none(path)
            refusals += array is None
            assert array is None or array.nbytes <= 60
        path.write_bytes(data[:position])
        with pytest.raises(DataError):
            readers.read_numpy(path)
    assert refusals > 300


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: 16 * MIB)
    size = 64 * MIB
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", npy(described(f"({size // 784}, 28, 28)"), bytes(size)))
        archive.writestr("labels.npy", npy(described("(3,)"), bytes(size)))
    assert (tmp_path / "bomb.npz").stat().st_size < MIB
    tracemalloc.start()
    with pytest.raises(DataError, match=r"bomb\.npz: images needs 0\.0625 GiB of memory, 0\.0156 are free"):
        readers.read_numpy(tmp_path / "bomb.npz")
    assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    tracemalloc.stop()


def test_a_member_that_is_not_asked_for_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", npy(described("(60, 1, 1)"), bytes(range(60))))
        archive.writestr("other.npy", npy(described("(99999999,)"), bytes(10)))
        archive.writestr("notes.txt", "no array")
    assert readers.read_numpy(tmp_path / "a.npz")[0].shape == (60, 1, 1)


def test_an_encrypted_member_and_one_of_another_compression_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((60, 2, 2), np.uint8))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    central = data.rindex(b"PK\x01\x02")
    for offset in (6, 8 + central - 0):  # flags of the local header, of the central directory
        data[offset] |= 1
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(DataError, match="encrypted"):
        readers.read_numpy(tmp_path / "a.npz")


def test_pipes_and_hidden_files_are_no_data(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(DataError, match="is a pipe or a device"):
        load_dataset(tmp_path / "pipe.npy")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match="holds no picture"):
        load_dataset(tmp_path)


@pytest.mark.parametrize("name", [b"\xff.npy", b"x" * 251 + b".npy", b"two\nlines.npy", b"-o.npy"])
def test_a_data_file_may_have_any_name(tmp_path: Path, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    np.save(path, np.arange(80 * 28, dtype=np.float32).reshape(80, 28))
    assert len(load_dataset(path).train) > 40
