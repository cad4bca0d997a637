"""SIGTERM while the service is still importing."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

SLOW = "import time\nprint('importing', flush=True)\ntime.sleep(60)\n"
SCRIPT = "import sys; from service.__main__ import main; sys.exit(main())"


@pytest.mark.parametrize(("command", "code"), [("serve", 0), ("tune", -signal.SIGTERM)])
def test_serve_leaves_in_peace_before_it_serves(tmp_path: Path, command: str, code: int) -> None:
    (tmp_path / "uvicorn.py").write_text(SLOW)
    path = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
    with subprocess.Popen([sys.executable, "-c", path + SCRIPT, command], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == code
