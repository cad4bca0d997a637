"""`python -m benchmarks.serving.compare OTHER_CHECKOUT`: the service of this checkout beside that of another one.

both services, started from their checkouts -> wrk loads one, then the other, in turns -> ratio of each pair of runs

Both are started several times, since the addresses of a process make it some percent faster or slower all its life.

Rows are the small requests of benchmarks.serving (.npy, JSON, PNG) at 1, 16 and 64 clients. The table has medians over
rounds: requests a second of both, their ratio pair by pair (above 1: this checkout is faster), and the ratio of CPU
time for a request, which is steadier on a busy machine. Both use this checkout's
interpreter and the other one's models, since an older service does not know what newer manifests hold.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.serving.load import Wrk
from benchmarks.serving.rows import Row, rows

Pair = tuple[tuple[float, float], tuple[float, float]]  # of this service and of the other: what `measure` returns
SMALL_ROWS = 3  # the first rows of the table


@dataclass(frozen=True)
class Service:
    port: int
    process: subprocess.Popen[bytes]

    @property
    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def start_service(checkout: Path, port: int, models: Path) -> Iterator[Service]:
    """The service of `checkout` on `port`, ready."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(checkout),
        "AUTOENCODER_MODELS": str(models),
        "AUTOENCODER_LOG_REQUESTS": "off",
        "AUTOENCODER_MAX_REQUESTS": "200",
    }
    command = [sys.executable, "-m", "service", "serve", "--port", str(port)]
    with subprocess.Popen(
        command, cwd=checkout, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            for _ in range(300):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz")
                    break
                except OSError:
                    time.sleep(0.2)
            yield Service(port, process)
        finally:
            process.terminate()


def measure(service: Service, row: Row, clients: int, seconds: int) -> tuple[float, float]:
    """(requests a second, CPU seconds for a request)"""
    before = service.cpu_seconds
    outcome = Wrk(service.port, row.load, clients, seconds).outcome()
    if outcome.errors or not outcome.rate:
        raise RuntimeError(f"{row.name}: {outcome.errors} requests failed")
    return outcome.rate, (service.cpu_seconds - before) / (outcome.rate * seconds)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving.compare", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("other", type=Path, help="the folder of another checkout")
    parser.add_argument("--starts", type=int, default=4, help="of both services; a process has a speed of its own")
    parser.add_argument("--rounds", type=int, default=4, help="of each row in each start")
    parser.add_argument("--seconds", type=int, default=1, help="of load in each run")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        print("wrk is missing: apt-get install wrk", file=sys.stderr)
        return 2
    cells = [(row, clients) for row in rows(lambda _package, _operation: "")[:SMALL_ROWS] for clients in row.clients]
    pairs: list[list[Pair]] = [[] for _ in cells]
    for start in range(options.starts):
        checkouts = [Path.cwd(), options.other.absolute()]
        with ExitStack() as stack:
            ports = (8391, 8392) if start % 2 else (8392, 8391)
            this, other = [
                stack.enter_context(start_service(checkout, port, checkouts[1] / "models"))
                for checkout, port in zip(checkouts, ports, strict=True)
            ]
            for (row, clients), results in zip(cells, pairs, strict=True):
                for service in (this, other):
                    measure(service, row, clients, 1)  # warm
                for index in range(options.rounds):
                    order = (this, other) if index % 2 else (other, this)
                    outcomes = {service.port: measure(service, row, clients, options.seconds) for service in order}
                    results.append((outcomes[this.port], outcomes[other.port]))
    print(
        "| | clients | other, requests/s | this | ratio | lowest | highest | ratio of CPU time |\n" + "|---" * 8 + "|"
    )
    for (row, clients), results in zip(cells, pairs, strict=True):
        ratios = [mine[0] / theirs[0] for mine, theirs in results]
        cpu = statistics.median(theirs[1] / mine[1] for mine, theirs in results)
        rates = [statistics.median(pair[index][0] for pair in results) for index in (1, 0)]
        print(
            f"| {row.name} | {clients} | {rates[0]:,.0f} | {rates[1]:,.0f} | {statistics.median(ratios):.3f} "
            f"| {min(ratios):.3f} | {max(ratios):.3f} | {cpu:.3f} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
