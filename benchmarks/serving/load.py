"""The load: wrk posts one body again and again; what came back is told as numbers.

Load -> wrk with a script of its own -> Outcome (requests a second, latencies, errors)

wrk is compiled and takes little of the machine, but what it takes it shares with the server.
"""

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = """
wrk.method = "POST"
local file = io.open("{body}", "rb")
wrk.body = file:read("*a")
file:close()
wrk.headers["Content-Type"] = "{content_type}"
wrk.headers["Accept"] = "{accept}"
done = function(summary, latency)
  io.write(string.format('\\n{{"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "errors": %d}}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e6, latency:percentile(99) / 1e6,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status
      + summary.errors.timeout))
end
"""


@dataclass(frozen=True)
class Load:
    """One request: `accept` empty where a server does not look at it."""

    path: str
    body: bytes
    content_type: str
    accept: str = "*/*"


@dataclass(frozen=True)
class Outcome:
    """Of one run: requests a second that were answered well, seconds of latency, how many were not."""

    rate: float
    p50: float
    p99: float
    errors: int


class Wrk:
    """wrk on its way; `outcome` waits for its end."""

    def __init__(self, port: int, load: Load, clients: int, seconds: int) -> None:
        self._folder = tempfile.TemporaryDirectory()
        body, script = Path(self._folder.name) / "body", Path(self._folder.name) / "load.lua"
        body.write_bytes(load.body)
        script.write_text(_SCRIPT.format(body=body, content_type=load.content_type, accept=load.accept))
        self._process = subprocess.Popen(
            ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "60s", "-s", str(script),
             f"http://127.0.0.1:{port}{load.path}"],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def outcome(self) -> Outcome:
        output, _ = self._process.communicate()
        self._folder.cleanup()
        found = json.loads(output.strip().splitlines()[-1])
        answered = found["requests"] - found["errors"]
        return Outcome(max(0, answered) / found["seconds"], found["p50"], found["p99"], found["errors"])
