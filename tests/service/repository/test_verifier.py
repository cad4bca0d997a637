"""The verifier: packages are tried in a child process."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from service.repository.verifier import VerificationFailed, Verifier
from service.sandbox import spawn
from tests.service import packages as doubles


def test_a_helper_that_died_is_started_again(signal_models: Path, verifier: Verifier) -> None:
    verifier.verify(signal_models / "signal" / "1")
    assert verifier._process is not None
    verifier._process.kill()
    verifier._process.wait()
    verifier.verify(signal_models / "signal" / "1")


def test_a_good_package_passes_though_the_verifier_process_is_killed_twice(
    signal_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.repository.verifier.PAUSES", (0.01, 0.01))
    verifier, kills = Verifier(512 << 20, 30), [1, 1]
    request = verifier._request

    def request_and_kill(message: dict[str, Any]) -> dict[str, Any]:
        if verifier._process is not None and kills:
            kills.pop()
            verifier._process.kill()
            verifier._process.wait()
            raise BrokenPipeError(32, "Broken pipe")
        return request(message)

    verifier.verify(signal_models / "signal" / "1")
    monkeypatch.setattr(verifier, "_request", request_and_kill)
    for _ in range(2):
        verifier.verify(signal_models / "signal" / "1")
    assert not kills
    verifier.close()


def test_a_package_whose_fork_is_killed_from_outside_is_tried_again_and_then_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.repository.verifier.PAUSES", (0.01, 0.01))
    graphs = doubles.endless_graphs()
    graphs["encoder"].graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.array(-1, np.float32), "one"))
    doubles.write(tmp_path, "endless", graphs)
    verifier, stop = Verifier(512 << 20, 60), threading.Event()
    killed: set[int] = set()

    def kill_forks() -> None:  # as the system does when memory is short
        while not stop.wait(0.05):
            process = verifier._process
            if process is None:
                continue
            path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            for child in path.read_text().split() if path.exists() else ():
                if int(child) not in killed:
                    killed.add(int(child))
                    os.kill(int(child), signal.SIGKILL)

    thread = threading.Thread(target=kill_forks)
    thread.start()
    with pytest.raises(
        VerificationFailed, match=r"endless/1 could not be verified in 3 attempts: .*killed from outside"
    ):
        verifier.verify(tmp_path / "endless" / "1")
    stop.set()
    thread.join()
    assert len(killed) == 3
    verifier.close()


def test_a_system_without_processes_left_is_tried_again(signal_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.repository.verifier.PAUSES", (0.01, 0.01))
    failures = [BlockingIOError(11, "Resource temporarily unavailable"), OSError(24, "Too many open files")]

    def spawn_later(module: str) -> subprocess.Popen[bytes]:
        if failures:
            raise failures.pop()
        return spawn(module)

    monkeypatch.setattr("service.repository.verifier.spawn", spawn_later)
    verifier = Verifier(512 << 20, 30)
    assert verifier.verify(signal_models / "signal" / "1")
    verifier.close()


def test_packages_are_verified_by_a_process_with_thousands_of_open_files(signal_models: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from service.repository.verifier import Verifier\n"
        "files = [os.open('/dev/null', os.O_RDONLY) for _ in range(1200)]\n"
        "verifier = Verifier(512 << 20, 30); print(verifier.verify(Path(sys.argv[1]))); verifier.close()"
    )
    command = [
        "sh",
        "-c",
        'ulimit -n 4096; exec "$@"',
        "sh",
        sys.executable,
        "-c",
        code,
        signal_models / "signal" / "1",
    ]
    outcome = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
    assert len(outcome.stdout.strip()) == 64


def test_a_package_with_a_pipe_for_a_graph_is_refused_at_once(signal_models: Path, verifier: Verifier) -> None:
    graph = next((signal_models / "signal" / "1").glob("*.onnx"))
    graph.unlink()
    os.mkfifo(graph)
    start = time.monotonic()
    with pytest.raises(VerificationFailed, match=f"has no file {graph.name}"):
        verifier.verify(signal_models / "signal" / "1")
    assert time.monotonic() - start < 10


def test_a_graph_that_answers_other_rows_or_nan_is_refused(tmp_path: Path, verifier: Verifier) -> None:
    doubles.write(tmp_path, "short", doubles.short_graphs(1))
    with pytest.raises(
        VerificationFailed, match=r"fails when it is run: .*answered \[2, 6\] with \[1, 6\].*the model$"
    ):
        verifier.verify(tmp_path / "short" / "1")
    graphs = doubles.rootless_graphs()
    graphs["encoder"].graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.array(-1, np.float32), "one"))
    doubles.write(tmp_path, "nan", graphs)
    with pytest.raises(VerificationFailed, match=r"answered with NaN or infinity; this is a fault of the model$"):
        verifier.verify(tmp_path / "nan" / "1")


def test_packages_pass_under_a_hard_limit_of_address_space(signal_models: Path) -> None:
    code = (
        "import sys, resource; resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))\n"
        "from pathlib import Path; from service.repository.verifier import Verifier\n"
        "verifier = Verifier(64 << 30, 60); print(verifier.verify(Path(sys.argv[1]))); verifier.close()"
    )
    directory = signal_models / "signal" / "1"
    outcome = subprocess.run([sys.executable, "-c", code, directory], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
    assert len(outcome.stdout.strip()) == 64


def test_closing_does_not_wait_for_a_verification(tmp_path: Path) -> None:
    graphs = doubles.endless_graphs()
    graphs["encoder"].graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.array(-1, np.float32), "one"))
    doubles.write(tmp_path, "endless", graphs)
    verifier, failures = Verifier(1 << 30, 60), list[str]()

    def verify() -> None:
        try:
            verifier.verify(tmp_path / "endless" / "1")
        except VerificationFailed as failure:
            failures.append(str(failure))

    thread = threading.Thread(target=verify)
    thread.start()
    time.sleep(3)
    start = time.monotonic()
    verifier.close()
    assert time.monotonic() - start < 5
    thread.join()
    assert "the verifier process ended" in failures[0]
