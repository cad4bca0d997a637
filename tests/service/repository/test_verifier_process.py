"""The verifier process: lines of JSON in, lines of JSON out."""

import json
from pathlib import Path
from typing import Any

from service.model import package
from service.repository.verifier import fingerprint
from service.sandbox import spawn, terminate


def test_requests_are_answered_line_by_line(signal_models: Path) -> None:
    directory = signal_models / "signal" / "1"
    limits = {"memory": 512 * 2**20, "seconds": 30}
    process = spawn("service.repository.verifier_process")
    assert process.stdin is not None
    assert process.stdout is not None

    def ask(directory: Path) -> Any:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"directory": str(directory), **limits}).encode() + b"\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    try:
        assert ask(directory) == {"passed": fingerprint(package.read_manifest(directory))}
        (directory / "encoder.onnx").write_bytes(b"")
        (sentence,) = ask(directory).values()
        assert "not the one that was exported" in sentence
        assert ask(signal_models / "signal" / "9") == {"refused": "signal/9 has no manifest.json"}
    finally:
        terminate(process)
