"""A server process, and NVIDIA's client of it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service import packages as doubles
from tests.service.api.v2.protocol import triton


@pytest.fixture(scope="package")
def address(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server process with the doubles, and with one package that is broken."""
    folder = tmp_path_factory.mktemp("served")
    doubles.write_all(folder)
    (folder / "broken" / "1").mkdir(parents=True)
    command = [sys.executable, "-m", "service", "serve", "--models", str(folder), "--port", "0"]
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("AUTOENCODER_")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=quiet) as process:
        if process.stdout is None:
            raise AssertionError("a pipe was asked for")
        try:
            match = None
            while match is None:
                line = process.stdout.readline()
                assert line, "the server ended before it was ready"
                match = re.search(r"http://localhost:(\d+)", line)
            yield f"127.0.0.1:{match[1]}"
        finally:
            process.terminate()


@pytest.fixture(scope="package")
def server(address: str) -> Iterator[Any]:
    with triton.InferenceServerClient(address) as client:
        yield client
