"""SIGTERM while the service is still importing."""

import os
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


def test_the_service_loads_no_torch(models: Path) -> None:
    script = (
        "import sys; from pathlib import Path; "
        "from service.app import create_app; from service.settings import Settings; "
        f"create_app(Settings(models=Path({str(models)!r}))); "
        "sys.exit(any(n in sys.modules for n in ('torch', 'training', 'matplotlib', 'sklearn', 'cv2')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_telemetry_is_off_before_the_runtime_is_imported() -> None:

    code = (
        "import service, os, sys; assert 'onnxruntime' not in sys.modules; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("ORT_", "COV"))}
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=plain, check=True)
    assert process.stdout.strip() == "1"


def test_a_process_with_too_little_address_space_says_so() -> None:
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({200 << 20}, {200 << 20})); {SCRIPT}"
    run = subprocess.run([sys.executable, "-c", limit, "settings"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (2, "")
    assert "200 MiB of address space, and needs at least 400 MiB" in run.stderr
    assert run.stderr.count("\n") == 1
