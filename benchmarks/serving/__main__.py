"""`python -m benchmarks.serving`: our service, the floors, and peers, row by row, in turns, in one run.

Machines are shared and noisy: only ratios between columns of one run mean something. The load generator and the servers
share the cores. Writes build/serving.json, a table and a plot. `--install` makes the peers' environments first.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from benchmarks.serving import floor, sparse_model
from benchmarks.serving.load import Outcome, Wrk
from benchmarks.serving.report import plot, table
from benchmarks.serving.rows import CATS, PAGES, Row, rows
from benchmarks.serving.servers import CORES, FLOOR, OTHERS, OURS, Running, Server, started
from service.model.package import read
from service.model.runtime import Model

OUT = Path("build")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="each server is started that many times, in turns")
    parser.add_argument("--seconds", type=int, default=4, help="of load at each concurrency")
    parser.add_argument("--only", default="", help="rows whose name holds this text")
    parser.add_argument("--servers", default="", help="of the peers, only these; comma-separated")
    parser.add_argument("--short", action="store_true", help="ours and the floors, one round")
    parser.add_argument("--add", action="store_true", help="to the rows of the run before, in build/serving.json")
    parser.add_argument("--sparse", action="store_true", help="first make a sparse autoencoder of 300 MB, for its rows")
    parser.add_argument("--install", action="store_true", help="first make the peers' virtual environments")
    asked = parser.parse_args()
    if shutil.which("wrk") is None:
        print("wrk is missing: the load generator, in Debian's package of that name", file=sys.stderr)
        return 2
    others = [] if asked.short else [s for s in OTHERS if not asked.servers or s.name in asked.servers.split(",")]
    for server in others:
        if asked.install and not server.installed:
            try:
                server.install()
            except subprocess.CalledProcessError:
                print(f"{server.name} could not be installed", file=sys.stderr)
        if not server.installed:
            print(f"{server.name} is skipped: not installed (--install)", file=sys.stderr)
    peers = [server for server in others if server.installed]
    result: dict[str, Any] = {"cores": CORES, "seconds": asked.seconds, "rounds": asked.rounds, "rows": []}
    if asked.add and (OUT / "serving.json").exists():
        before = json.loads((OUT / "serving.json").read_text())
        result = {**before, **result, "rows": [row for row in before["rows"] if asked.only not in row["row"]]}
    if asked.sparse:
        sparse_model.write()
    for row in rows(_chosen):
        if asked.only in row.name:
            result["rows"].append(_measured(row, peers, 1 if asked.short else asked.rounds, asked.seconds))
            print(table(result["rows"][-1]), flush=True)
            _write(result)
    if not asked.only:
        result["beside"] = _beside(asked.seconds)
        print(json.dumps(result["beside"], indent=1))
        _write(result)
    plot(result, OUT / "serving.png")
    return 0


def _write(result: dict[str, Any]) -> None:
    OUT.mkdir(exist_ok=True)
    (OUT / "serving.json").write_text(json.dumps(result, indent=1) + "\n")


def _chosen(package: Path, operation: str) -> str:
    """The graph file that our service runs."""
    model = Model(read(package), "cpu")
    role = {"encode": "encoder", "denoise": "denoiser"}[operation]
    if operation == "denoise" and model.precision == "int8":
        role = "denoiser-int8"
    return next(file.file for name, file in model.manifest.graphs.items() if name == role)


def _measured(row: Row, peers: list[Server], rounds: int, seconds: int) -> dict[str, Any]:
    servers = [OURS, FLOOR, *(s for s in peers if s.takes(row.load, any_size="denoise" in row.name))]
    runs: dict[str, dict[int, list[Outcome]]] = {server.name: {} for server in servers}
    memory: dict[str, int] = {}
    works: list[float] = []
    failed: dict[str, str] = {}
    for _ in range(rounds):
        works.append(floor.rate(row, CORES, seconds))
        for server in servers:
            if server.name in failed:
                continue
            try:
                with started(server, row.package / row.graph, row.load, _answer_bytes(row)) as running:
                    for clients in row.clients:
                        outcome, used = _driven(running, server, row, clients, seconds)
                        runs[server.name].setdefault(clients, []).append(outcome)
                        memory[server.name] = max(memory.get(server.name, 0), used)
            except RuntimeError as reason:
                failed[server.name] = str(reason)
                print(reason, file=sys.stderr)
    return {
        "row": row.name,
        "work floor": statistics.median(works),
        "samples": row.samples,
        "failed": failed,
        "memory": memory,
        "servers": {
            name: {
                clients: {
                    "rate": statistics.median(o.rate for o in outcomes),
                    "p50": statistics.median(o.p50 for o in outcomes),
                    "p99": statistics.median(o.p99 for o in outcomes),
                    "errors": sum(o.errors for o in outcomes),
                }
                for clients, outcomes in by_clients.items()
            }
            for name, by_clients in runs.items()
            if by_clients
        },
    }


def _driven(running: Running, server: Server, row: Row, clients: int, seconds: int) -> tuple[Outcome, int]:
    wrk = Wrk(running.port, server.load(row.load), clients, seconds)
    peak, over = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.3):
            peak = max(peak, running.memory())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        outcome = wrk.outcome()
    finally:
        over.set()
        watcher.join()
    return outcome, peak


def _answer_bytes(row: Row) -> int:
    """About as long as the real answer: latents, or a picture like the one sent."""
    if row.load.accept == "image/png":
        return len(row.load.body)
    return row.samples * row.numbers * 4 + 128


def _beside(seconds: int) -> dict[str, float]:
    """Small encodes alone, and beside two clients who send large pages: 16 clients, seconds of p50 and p99."""
    small = next(row for row in rows(_chosen) if row.package == CATS)
    page = next(row for row in rows(_chosen) if row.package == PAGES)
    with started(OURS, small.package / small.graph, small.load) as running:
        alone = Wrk(running.port, small.load, 16, seconds * 2).outcome()
        pages = Wrk(running.port, page.load, 2, seconds * 2 + 2)
        threading.Event().wait(1)
        beside = Wrk(running.port, small.load, 16, seconds * 2).outcome()
        large = pages.outcome()
    return {
        "alone p50": alone.p50, "alone p99": alone.p99, "alone rate": alone.rate, "beside p50": beside.p50,
        "beside p99": beside.p99, "beside rate": beside.rate, "pages rate": large.rate, "errors": beside.errors,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
