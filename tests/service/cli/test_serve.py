"""`autoencoder-service serve`."""

import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from service.cli.main import main


def test_a_port_in_use_is_one_line_and_exit_code_2(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        assert main(["serve", "--models", str(models), "--port", str(listener.getsockname()[1])]) == 2
    assert "cannot listen on 127.0.0.1" in capsys.readouterr().err


def test_the_real_process_serves_and_leaves_with_0_on_sigterm(models: Path) -> None:
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--models", str(models)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        url = next(word for word in first.split() if word.startswith("http"))
        for _ in range(100):
            try:
                with urllib.request.urlopen(f"{url}/readyz", timeout=5) as response:
                    assert response.status == 200
                break
            except OSError:
                time.sleep(0.05)
        process.terminate()
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
