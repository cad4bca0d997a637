"""A service in a process of its own, for clients that need a real address."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serve(models: Path) -> Iterator[str]:
    """The address "127.0.0.1:PORT" of a service of the packages in `models`, ready; it ends after the block."""
    command = [sys.executable, "-m", "service", "serve", "--models", str(models), "--port", "0"]
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
