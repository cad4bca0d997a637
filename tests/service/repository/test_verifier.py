"""The verifier: packages are tried in a child process."""

from pathlib import Path

from service.repository.verifier import Verifier


def test_a_helper_that_died_is_started_again(signal_models: Path, verifier: Verifier) -> None:
    verifier.verify(signal_models / "signal" / "1")
    assert verifier._process is not None
    verifier._process.kill()
    verifier._process.wait()
    verifier.verify(signal_models / "signal" / "1")
