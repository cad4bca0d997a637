"""`autoencoder-service models`."""

from pathlib import Path

import pytest

from service.cli.main import main
from tests.service import packages as doubles
from tests.service.signals import write_signal


def test_models_are_listed_and_rejected_packages_reported(
    tmp_path: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "--models", str(models)]) == 0
    assert "signal" in capsys.readouterr().out
    (doubles.write(tmp_path, "bad", doubles.vector_graphs()) / "manifest.json").unlink()
    assert main(["models", "--models", str(tmp_path)]) == 1
    assert "has no manifest.json" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "code", "words"), [
    (["verify"], 1, ("good signal/1", "bad  signal/2: signal/2/decoder.onnx has SHA-256")),
    (["verify", "signal/1"], 0, ("good signal/1",)),
    (["card", "signal/1"], 0, ("# double",)),
    (["card", "signal/7"], 2, ("there is no package 'signal/7'; there are: signal/1, signal/2",)),
    (["card"], 2, ("models card needs NAME or NAME/VERSION",)),
    ([], 1, ("signal", "refused: signal/2/decoder.onnx")),
])  # fmt: skip
def test_models_from_the_command_line(
    signal_models: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: tuple[str, ...]
) -> None:
    (write_signal(signal_models, 2) / "decoder.onnx").write_bytes(b"")
    assert main(["models", *arguments, "--models", str(signal_models)]) == code
    output = "".join(capsys.readouterr())
    assert all(word in output for word in words), output
