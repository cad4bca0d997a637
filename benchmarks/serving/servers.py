"""The servers that are compared: how each is started, what it needs, which requests it takes.

Server -> started on a free port, with the graph and the number of cores in its environment -> answers POST
"""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.serving.load import Load

PEERS = Path(__file__).with_name("peers")
ENVIRONMENTS = Path("build/peers")  # one virtual environment each
CORES = len(os.sched_getaffinity(0))
COMMON = ["onnxruntime", "numpy", "pillow"]
FORM = "multipart/form-data; boundary=frontier"


@dataclass(frozen=True)
class Server:
    """One way to serve.

    Args:
        command: after the interpreter of its environment; {port} is filled in.
        packages: what its environment needs; none: ours.
        settings: environment variables beside GRAPH, KIND, PORT, WORKERS, ANSWER_BYTES.
        form: takes files only as a form.
        path: where it takes requests.
        protocol: takes only JSON of the open inference protocol.
        batches: joins requests, which needs samples of one shape.
    """

    name: str
    command: tuple[str, ...]
    packages: tuple[str, ...] = ()
    settings: dict[str, str] = field(default_factory=dict)
    form: bool = False
    batches: bool = False
    protocol: bool = False
    path: str = "/"

    def takes(self, load: Load, *, any_size: bool) -> bool:
        """Whether it can be asked that: who joins requests needs one shape, and some know only JSON."""
        if any_size and self.batches:
            return False
        return not self.protocol or load.content_type == "application/json"

    @property
    def python(self) -> Path:
        return ENVIRONMENTS / self.name.partition(" ")[0] / "bin" / "python" if self.packages else Path(sys.executable)

    @property
    def installed(self) -> bool:
        return self.python.exists()

    def install(self) -> None:
        """Its virtual environment, from the package index."""
        folder = self.python.parent.parent
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        try:
            subprocess.run([*pip, *COMMON, *self.packages], check=True)
        except subprocess.CalledProcessError:
            shutil.rmtree(folder)
            raise

    def load(self, load: Load) -> Load:
        """The request as this server takes it."""
        if self.name == "ours":
            return load
        if self.protocol:
            array = np.array(json.loads(load.body)["inputs"])
            tensor = {"name": "image", "shape": array.shape, "datatype": "UINT8", "data": array.reshape(-1).tolist()}
            return Load("/v2/models/served/infer", json.dumps({"inputs": [tensor]}).encode(), load.content_type)
        if not self.form or load.content_type == "application/json":
            return Load(self.path, load.body, load.content_type)
        head = (
            '--frontier\r\nContent-Disposition: form-data; name="body"; filename="body"\r\n'
            f"Content-Type: {load.content_type}\r\n\r\n"
        )
        return Load(self.path, head.encode() + load.body + b"\r\n--frontier--\r\n", FORM)


UVICORN = ("-m", "uvicorn", "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "error",
           "--port", "{port}")  # fmt: skip
OURS = Server("ours", ("-m", "service", "serve", "--port", "{port}", "--provider", "cpu"))
FLOOR = Server("HTTP floor", (*UVICORN, "floor:app"))
WEB = ("fastapi", "uvicorn[standard]")
OTHERS = (
    Server("template", (*UVICORN, "template:app"), WEB),
    Server("LitServe", ("lit.py",), ("litserve", "python-multipart"), {"BATCH": "1"}, form=True),
    Server("LitServe batched", ("lit.py",), ("litserve", "python-multipart"), {"BATCH": "64"}, form=True, batches=True),
    Server("mosec", ("mosec_.py", "--port", "{port}", "--timeout", "60000", "--log-level", "error"), ("mosec",),
           {"BATCH": "1"}, path="/inference"),
    Server("mosec batched", ("mosec_.py", "--port", "{port}", "--timeout", "60000", "--log-level", "error"),
           ("mosec",), {"BATCH": "64"}, batches=True, path="/inference"),
    Server("BentoML", ("-m", "bentoml", "serve", "bento:Served", "--port", "{port}"), ("bentoml", "fastapi"),
           {"BENTOML_DO_NOT_TRACK": "1"}),
    Server("MLServer", ("-m", "mlserver.cli.main", "start", "mlserver_model"), ("mlserver", "uvloop<0.22"),
           {"MLSERVER_PARALLEL_WORKERS": "0", "MLSERVER_GRPC_PORT": "0", "MLSERVER_METRICS_PORT": "0",
            "MLSERVER_ENABLE_DOCS": "false"}, protocol=True),
    Server("Ray", ("ray_.py",), ("ray[serve]",), {"RAY_USAGE_STATS_ENABLED": "0"}),
)  # fmt: skip


@dataclass
class Running:
    """A started server."""

    port: int
    process: subprocess.Popen[bytes]

    def memory(self) -> int:
        """Bytes of proportional memory of the process and its children."""
        total, waiting = 0, [self.process.pid]
        while waiting:
            pid = waiting.pop()
            try:
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
                waiting += [int(child) for task in Path(f"/proc/{pid}/task").iterdir()
                            for child in (task / "children").read_text().split()]  # fmt: skip
            except (OSError, ValueError):
                continue
            total += int(rollup.partition("\nPss:")[2].split()[0]) * 1024
        return total


@contextmanager
def started(server: Server, graph: Path, load: Load, answer_bytes: int = 0) -> Iterator[Running]:
    """The server, ready: it has answered `load` well. RuntimeError with the end of its log if it does not in 60 s."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ours = server is OURS
    settings = {"GRAPH": str(graph.resolve()), "KIND": load.content_type, "PORT": str(port), "WORKERS": str(CORES),
                "ANSWER_BYTES": str(answer_bytes), "MLSERVER_HTTP_PORT": str(port), **server.settings}  # fmt: skip
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "AUTOENCODER_DRAIN": "0",
        **({"AUTOENCODER_MODELS": str(graph.resolve().parents[2])} if ours else settings),
    }
    log = Path("build") / f"{server.name.replace(' ', '-')}.log"
    log.parent.mkdir(exist_ok=True)
    command = [str(server.python.absolute()), *(part.format(port=port) for part in server.command)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=None if ours else PEERS, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        _wait(server, process, port, server.load(load), log)
        yield Running(port, process)
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(server: Server, process: subprocess.Popen[bytes], port: int, load: Load, log: Path) -> None:
    until = time.monotonic() + 60
    said = "nothing"
    while time.monotonic() < until and process.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("POST", load.path, load.body, {"Content-Type": load.content_type, "Accept": load.accept})
            response = connection.getresponse()
            said = f"{response.status} {response.read()[:200]!r}"
            connection.close()
            if response.status == 200:
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"{server.name} does not serve: it answered {said}; its log ends: {log.read_text()[-300:]}")
