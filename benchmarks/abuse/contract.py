"""Requests drawn from our own OpenAPI, right and wrong ones, by schemathesis: the answers are as it says.

/openapi.json -> schemathesis, in an environment of its own -> requests -> status, media type, body against the document

It is no dependency of the project. To have it:
python -m venv build/schemathesis && build/schemathesis/bin/pip install schemathesis
"""

import re
import subprocess
import time
from pathlib import Path

from benchmarks.abuse.report import Outcome
from benchmarks.abuse.serving import HOST, MIB, Serving

COMMAND = Path("build/schemathesis/bin/schemathesis")
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
PHASES = "examples,coverage,fuzzing"
CONFIGURATION = """[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "504"]
"""  # 504 is what who asks for a Request-Deadline of no time is to get
OPERATIONS = 13  # of our document, about; an operation draws more than it is told to
GROWTH = 20 * MIB


def schemathesis(served: Serving, total: int) -> Outcome:
    """At least `total` requests, drawn by a fixed seed."""
    started = time.perf_counter()
    if not COMMAND.exists():
        return Outcome("schemathesis", "0", "not installed", 0, None, [f"there is no {COMMAND}: see this module"])
    configuration = served.log.parent / "schemathesis.toml"
    configuration.write_text(CONFIGURATION)
    count, growth, broken, runs = 0, 0, list[str](), 0
    while count < total and not broken:
        runs += 1
        examples = max(1, total // OPERATIONS)
        before = served.memory
        drawn = ["--checks", CHECKS, "--seed", str(runs), "--max-examples", str(examples), "--phases", PHASES]
        ways = ["--no-shrink", "--request-timeout", "10", "--warnings", "off", "--continue-on-failure"]
        done = subprocess.run(
            [
                COMMAND,
                "--config-file",
                configuration,
                "run",
                f"http://{HOST}:{served.port}/openapi.json",
                *drawn,
                *ways,
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        (served.log.parent / "schemathesis.txt").write_text(done.stdout + done.stderr)
        generated = re.search(r"([\d,]+) generated", done.stdout)
        if generated is None:
            broken.append(f"it did not run: {(done.stdout + done.stderr)[-200:]}")
            break
        count += int(generated[1].replace(",", ""))
        growth = max(growth, served.memory - before) if runs > 1 else 0  # the first loads libraries and documents
        if done.returncode:
            broken.append(f"see {served.log.parent / 'schemathesis.txt'}")
    if growth > GROWTH:
        broken.append(f"grew by {growth / MIB:.0f} MiB")
    found = "no 5xx, every answer as documented" if not broken else "failures"
    return Outcome("schemathesis", f"{count:,}", found, time.perf_counter() - started, growth, broken)
