"""Free memory: by the machine, the control group, and the limit of address space."""

import subprocess
import sys
from pathlib import Path

import pytest

from training.data import memory
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
