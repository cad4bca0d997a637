"""The verifier: packages are tried in a child process."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from service.repository.verifier import VerificationFailed, Verifier
from tests.service import packages as doubles


def test_a_helper_that_died_is_started_again(signal_models: Path, verifier: Verifier) -> None:
    verifier.verify(signal_models / "signal" / "1")
    assert verifier._process is not None
    verifier._process.kill()
    verifier._process.wait()
    verifier.verify(signal_models / "signal" / "1")


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
