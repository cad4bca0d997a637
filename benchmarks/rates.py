"""`python -m benchmarks.rates`: what a core does in a second, for the cost model of docs/scale.md.

service <- wrk; CPU seconds of the service's processes -> requests and megapixels a CPU second

CPU seconds and not the clock's: load generator, client and neighbours on the machine are not counted. `--ray`: the same
requests through Ray Serve (its proxy and one replica), if the extra is installed.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.serving.__main__ import _chosen
from benchmarks.serving.load import Wrk
from benchmarks.serving.rows import Row, rows
from benchmarks.serving.servers import OURS, started

MEGAPIXELS = {"encode 28x28, .npy": 0.0, "encode 28x28, PNG": 0.0, "denoise 256x256, PNG": 0.065536,
              "denoise 4 megapixel, PNG": 4.194304}  # fmt: skip
PORT = 8125


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rates", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=int, default=8, help="of load for each row")
    parser.add_argument("--clients", type=int, default=16, help="at once, of small requests")
    parser.add_argument("--ray", action="store_true", help="through Ray Serve")
    asked = parser.parse_args()
    print("| | requests a CPU second | megapixels a CPU second |\n|---|---|---|")
    for row in rows(_chosen):
        if row.name in MEGAPIXELS:
            with _ray() if asked.ray else _ours(row) as (port, processes):
                rate = _rate(row, port, processes, asked.clients, asked.seconds)
            print(f"| {row.name} | {rate:,.1f} | {rate * MEGAPIXELS[row.name] or 0:.2f} |", flush=True)


def _rate(row: Row, port: int, processes: Callable[[], list[int]], clients: int, seconds: int) -> float:
    """Requests answered well for each second that a core worked."""
    clients = min(clients, row.clients[-1])
    Wrk(port, row.load, clients, 1).outcome()  # warm
    before = _cpu(processes())
    outcome = Wrk(port, row.load, clients, seconds).outcome()
    if outcome.errors:
        raise RuntimeError(f"{row.name}: {outcome.errors} requests failed")
    return outcome.rate * seconds / (_cpu(processes()) - before)


def _cpu(processes: list[int]) -> float:
    """Seconds that they have worked, children that ended included."""
    ticks = 0
    for process in processes:
        after_name = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, after_name[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def _ours(row: Row) -> Iterator[tuple[int, Callable[[], list[int]]]]:
    with started(OURS, Path(row.package) / row.graph, row.load) as running:
        yield running.port, lambda: [running.process.pid]


@contextmanager
def _ray() -> Iterator[tuple[int, Callable[[], list[int]]]]:
    import ray
    from ray import serve

    from service import ray_serve

    ray.init(address="local", num_cpus=2, object_store_memory=80 * 2**20, include_dashboard=False, log_to_driver=False,
             logging_level="error", runtime_env={"env_vars": {"PYTHONPATH": str(Path.cwd())}})  # fmt: skip
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": PORT})
        serve.run(ray_serve.build({"models": str(Path("models").absolute()), "watch": 0}), name="autoencoder-service")
        yield PORT, _serving
    finally:
        serve.shutdown()
        ray.shutdown()


def _serving() -> list[int]:
    """The processes of Ray's proxy and replicas."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            line = (folder / "cmdline").read_bytes()
            if b"ServeReplica" in line or b"ProxyActor" in line:
                found.append(int(folder.name))
    return found


if __name__ == "__main__":
    main()
