"""`python -m tests.run_all`: all tests, in two pytest processes side by side, with branch coverage of both together.

Tests of training need a core for minutes and wait for nothing; those of the service wait for timers and processes, and
some of them measure. So the tests of training run at the lowest priority, and their output follows when they end.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.branches import main as check_branches

COVERAGE = Path("build/coverage")
TRAINING = "tests/training"


def start_pytest(name: str, arguments: list[str], *, output: Path | None = None) -> subprocess.Popen[bytes]:
    """A pytest process with a coverage file of its own; with `output`, at the lowest priority and into that file."""
    command = [sys.executable, "-m", "pytest", "--cov", "--cov-report=", "--cov-fail-under=0", *arguments]
    # torch's threads wait for each other: two beside another program take many times as long as one
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "COVERAGE_FILE": str((COVERAGE / name).absolute())}
    if output is None:
        return subprocess.Popen(command, env=environment)
    if shutil.which("nice") is not None:
        command = ["nice", "-n", "19", *command]
    with output.open("wb") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)


def main() -> int:
    shutil.rmtree(COVERAGE, ignore_errors=True)
    COVERAGE.mkdir(parents=True)
    output = COVERAGE.parent / "training-tests.txt"
    training = start_pytest("training", [TRAINING], output=output)
    try:
        codes = [start_pytest("service", ["tests", f"--ignore={TRAINING}"]).wait()]
        codes.append(training.wait())
    finally:
        training.terminate()
    sys.stdout.write(output.read_text(encoding="utf-8", errors="replace"))
    sys.stdout.flush()
    coverage = [sys.executable, "-m", "coverage"]
    files = [str(COVERAGE / name) for name in ("training", "service")]
    codes.append(subprocess.call([*coverage, "combine", "--quiet", *files]))
    codes.append(subprocess.call([*coverage, "json", "--quiet", "-o", "build/coverage.json"]))
    codes.append(subprocess.call([*coverage, "report"]))
    codes.append(check_branches(Path("build/coverage.json")))
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
