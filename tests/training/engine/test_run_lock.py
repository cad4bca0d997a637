"""The lock of a run's folder: one process at a time, and a process that was killed blocks nobody."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from training.engine.run_lock import FILE_NAME, lock_run
from training.errors import DiskError, RunLocked

HOLDER = (
    "import sys, time; from pathlib import Path; from training.engine.run_lock import lock_run\n"
    "with lock_run(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
)


def hold(folder: Path) -> subprocess.Popen[str]:
    """A process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str], number: int = signal.SIGKILL) -> None:
    process.send_signal(number)
    process.communicate()


def test_a_second_process_is_refused_and_told_which_the_first_is(tmp_path: Path) -> None:
    process = hold(tmp_path / "run")
    try:
        sentence = rf"run is in use by another run \(process {process.pid} on .*\): wait"
        with pytest.raises(RunLocked, match=sentence), lock_run(tmp_path / "run"):
            pass
        with lock_run(tmp_path / "another"):
            pass
    finally:
        end(process)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_of_a_process_that_was_killed_blocks_nobody(tmp_path: Path, number: int) -> None:
    end(hold(tmp_path), number)
    assert (tmp_path / FILE_NAME).exists()
    with lock_run(tmp_path):
        assert f"process {os.getpid()} on " in (tmp_path / FILE_NAME).read_text()
    with lock_run(tmp_path):
        pass


def test_two_locks_in_one_process_exclude_each_other(tmp_path: Path) -> None:
    with lock_run(tmp_path), pytest.raises(RunLocked), lock_run(tmp_path):
        pass


def test_an_absurd_lock_file_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"\xff" * 1000)
    with lock_run(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match=r"cannot lock .*choose another --runs"), lock_run(tmp_path / "file" / "run"):
        pass
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(DiskError, match="cannot lock"), lock_run(tmp_path):
        pass
