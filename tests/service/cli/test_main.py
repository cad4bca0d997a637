"""The command line: dispatch, broken pipes."""

import subprocess
import sys
from pathlib import Path


def test_who_has_read_enough_of_a_list_is_no_error(models: Path) -> None:
    command = [sys.executable, "-m", "service", "settings", "--models", str(models)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 0
