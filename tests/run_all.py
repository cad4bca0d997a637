"""`python -m tests.run_all`: all tests, in three pytest processes side by side, with branch coverage of all together.

Tests of training and of documents need a core for minutes and wait for nothing; those of the service wait for timers
and processes, and some of them measure. So the former run at the lowest priority, and their output follows at the end.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.branches import main as check_branches

COVERAGE = Path("build/coverage")


def is_test(path: Path) -> bool:
    """Whether pytest finds tests in this folder or module."""
    return (path.is_dir() and any(path.rglob("test_*.py"))) or path.name.startswith("test_")


IMPORTING = Path("tests/training/importing")  # with the service's tests, which are done first
BESIDE = {  # name of a process at the lowest priority -> what it tests
    "training": sorted(str(path) for path in IMPORTING.parent.iterdir() if path != IMPORTING and is_test(path)),
    "documents": ["tests/test_documents.py", "tests/test_lesson.py"],
}


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
    outputs = {name: COVERAGE.parent / f"{name}-tests.txt" for name in BESIDE}
    processes = [start_pytest(name, paths, output=outputs[name]) for name, paths in BESIDE.items()]
    ignored = [f"--ignore={path}" for paths in BESIDE.values() for path in paths]
    try:
        codes = [start_pytest("service", ["tests", *ignored]).wait()]
        codes += [process.wait() for process in processes]
    finally:
        for process in processes:
            process.terminate()
    for output in outputs.values():
        sys.stdout.write(output.read_text(encoding="utf-8", errors="replace"))
    sys.stdout.flush()
    coverage = [sys.executable, "-m", "coverage"]
    files = [str(COVERAGE / name) for name in (*BESIDE, "service")]
    codes.append(subprocess.call([*coverage, "combine", "--quiet", *files]))
    codes.append(subprocess.call([*coverage, "json", "--quiet", "-o", "build/coverage.json"]))
    codes.append(subprocess.call([*coverage, "report"]))
    codes.append(check_branches(Path("build/coverage.json")))
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
