"""Free memory: by the machine, the control group, and the limit of address space."""

import bz2
import gzip
import lzma
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from training.data import memory
from training.data.files import table_text
from training.data.public import idx
from training.errors import DataError


def test_more_than_there_is_is_refused_and_less_is_not() -> None:
    memory.check_memory(1, "a.npz")
    with pytest.raises(DataError, match=r"a\.npz needs 1\.07e\+09 GiB of memory, "):
        memory.check_memory(2**60, "a.npz")


def test_the_control_groups_limit_counts_without_the_files_that_were_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_CONTROL_GROUP", tmp_path)
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 300\ninactive_file 400\n")
    (tmp_path / "memory.max").write_text("1000\n")
    assert memory.free_memory() == 700
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_memory() > 10**6


def test_a_limit_of_address_space_counts() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))\n"
        "from training.data.memory import free_memory; print(free_memory())"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(outcome.stdout) < 1 << 30


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_packed_table_that_unpacks_to_more_than_there_is_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr("training.data.files.table_text.free_memory", lambda: 4 << 20)
    (tmp_path / "small.csv.gz").write_bytes(pack(b"1,2\n" * 1000))
    assert table_text.read_text(tmp_path / "small.csv.gz").text.startswith("1,2")
    (tmp_path / "bomb.csv.gz").write_bytes(pack(b"1,2\n" * (16 << 20)))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"bomb\.csv\.gz unpacks to more than "):
        table_text.read_text(tmp_path / "bomb.csv.gz")
    assert tracemalloc.get_traced_memory()[1] < 24 << 20
    tracemalloc.stop()


def test_an_idx_file_that_declares_more_than_it_has_takes_no_memory(tmp_path: Path) -> None:
    header = struct.pack(">IIII", 0x803, 2**31, 28, 28)
    (tmp_path / "a-idx3-ubyte").write_bytes(header + bytes(100))
    (tmp_path / "b-idx3-ubyte.gz").write_bytes(gzip.compress(header + bytes(100)))
    (tmp_path / "c-idx3-ubyte.gz").write_bytes(gzip.compress(struct.pack(">IIII", 0x803, 1, 2, 2) + bytes(64 << 20)))
    tracemalloc.start()
    for name in ("a-idx3-ubyte", "b-idx3-ubyte.gz", "c-idx3-ubyte.gz"):
        with pytest.raises(DataError, match=name):
            idx.read_images(tmp_path / name)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
