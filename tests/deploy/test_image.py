"""The Dockerfile says what is true of this repository."""

import json
import os
import re
import shlex
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import service
from service.cli.main import build_parser, run_serve
from tests.deploy import files

PYPROJECT = tomllib.loads((files.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONSTRAINTS = files.ROOT / "constraints.txt"
CONSTRAINTS_GPU = files.ROOT / "deploy" / "constraints-gpu.txt"


def last(instruction: str) -> str:
    return [rest for name, rest in files.instructions() if name == instruction][-1]


def pins(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return dict(line.split("==", 1) for line in lines)


def requirements(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "deploy/requirements.py", *arguments]
    return subprocess.run(command, cwd=files.ROOT, capture_output=True, text=True, check=False)


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "Dockerfile"], cwd=files.ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_is_copied_is_there_and_is_let_in() -> None:
    ignore = (files.ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = {line[1:] for line in ignore if line.startswith("!")}
    copied = [shlex.split(rest) for name, rest in files.instructions() if name == "COPY" and "--from" not in rest]
    sources = {source for words in copied for source in words[:-1]}
    assert "*" in ignore
    assert sources == let_in
    for source in sources:
        assert (files.ROOT / source).exists(), source


def test_the_image_installs_what_this_environment_pins() -> None:
    install = next(rest for name, rest in files.instructions() if name == "RUN" and "--requirement" in rest)
    assert '"locked-${ACCELERATOR}.txt"' in install  # of the same versions: tests/deploy/test_supply_chain.py
    listed = requirements("cpu").stdout.splitlines()
    assert listed == PYPROJECT["project"]["dependencies"]
    named = {re.split(r"[\[>=;]", line)[0].lower().replace("_", "-") for line in listed}
    assert named <= {name.lower().replace("_", "-") for name in pins(CONSTRAINTS)}


def test_the_gpu_image_has_the_gpu_runtime_in_place_of_the_other() -> None:
    cpu, gpu = requirements("cpu").stdout.splitlines(), requirements("gpu").stdout.splitlines()
    assert [line for line in cpu if line not in gpu] == [line for line in cpu if line.startswith("onnxruntime>")]
    (runtime,) = (line for line in cpu if line.startswith("onnxruntime>"))
    assert [line for line in gpu if line not in cpu] == [f"onnxruntime-gpu[cuda,cudnn]{runtime[len('onnxruntime') :]}"]


def test_the_openvino_image_has_its_runtime_in_place_of_the_other() -> None:
    cpu, openvino = requirements("cpu").stdout.splitlines(), requirements("openvino").stdout.splitlines()
    assert [line for line in cpu if line not in openvino] == [line for line in cpu if line.startswith("onnxruntime>")]
    assert [line.split(">")[0] for line in openvino if line not in cpu] == ["onnxruntime-openvino"]


def test_extras_of_the_service_are_added_when_they_are_asked_for() -> None:
    base, more = requirements("cpu", "").stdout.splitlines(), requirements("cpu", "pdf tracing").stdout.splitlines()
    extras = PYPROJECT["project"]["optional-dependencies"]
    assert base == PYPROJECT["project"]["dependencies"]
    assert more == [*base, *extras["pdf"], *extras["tracing"]]


def test_cuda_and_cudnn_are_pinned_with_the_runtime_that_needs_them() -> None:
    gpu = pins(CONSTRAINTS_GPU)
    assert not set(gpu) & set(pins(CONSTRAINTS))
    assert set(gpu) == {"onnxruntime-gpu"} | {name for name in gpu if name.startswith("nvidia-")}
    assert gpu["nvidia-cuda-runtime"].startswith("13.")
    assert gpu["nvidia-cudnn-cu13"].startswith("9.")
    path = files.environment()["LD_LIBRARY_PATH"]
    assert "/opt/autoencoder/nvidia/cu13/lib:" in path
    assert "/opt/autoencoder/nvidia/cudnn/lib:" in path


@pytest.mark.parametrize("arguments", [("tpu",), (), ("cpu", "training"), ("cpu", "pdf; rm")])
def test_another_accelerator_is_refused_in_a_line(arguments: tuple[str, ...]) -> None:
    done = requirements(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


def test_the_environment_sets_real_settings() -> None:
    environment = files.environment()
    ours = {name: value for name, value in environment.items() if name.startswith("AUTOENCODER_")}
    chosen = files.settings(ours)
    assert chosen.host == "0.0.0.0"
    assert (chosen.provider, chosen.require_provider) == ("cuda", True)  # of the stage gpu
    assert any(name == "COPY" and rest.endswith(f"/staged{environment['AUTOENCODER_MODELS']}")
               for name, rest in files.instructions())  # fmt: skip
    assert last("EXPOSE") == environment["AUTOENCODER_PORT"]


def test_the_service_is_process_1_and_not_root() -> None:
    command = [*json.loads(last("ENTRYPOINT")), *json.loads(last("CMD"))]
    assert command[0] in PYPROJECT["project"]["scripts"]
    assert build_parser().parse_args(command[1:]).run is run_serve
    user, group = last("USER").split(":")
    assert int(user) > 0
    assert int(group) > 0


def test_both_stages_stand_on_one_python_that_the_service_supports() -> None:
    bases = [rest.split()[0] for name, rest in files.instructions() if name == "FROM"]
    assert [base for base in bases if "/" in base] == []  # all by ARG BASE, or by a stage's name
    base = dict(rest.split("=", 1) for name, rest in files.instructions() if name == "ARG" and "=" in rest)["BASE"]
    version = re.search(r"python:3\.(\d+)-slim", base)
    assert version is not None
    assert int(version[1]) >= int(PYPROJECT["project"]["requires-python"].removeprefix(">=3."))


def test_the_label_tells_the_version() -> None:
    labels = dict(word.split("=", 1) for word in shlex.split(last("LABEL")))
    assert labels["org.opencontainers.image.version"] == service.__version__ == PYPROJECT["project"]["version"]


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_health_check_asks_whether_the_service_is_ready(status: int, healthy: bool) -> None:
    with answering(status) as (port, asked):
        assert (health_check(port) == 0) is healthy
    assert asked == ["/readyz"]


def test_the_health_check_fails_when_nobody_listens() -> None:
    with answering(200) as (port, _):
        pass
    assert health_check(port) != 0


def health_check(port: int) -> int:
    command = json.loads(last("HEALTHCHECK").split("CMD", 1)[1])
    assert command[0] == "python"
    environment = {**os.environ, "AUTOENCODER_PORT": str(port)}
    return subprocess.run([sys.executable, *command[1:]], env=environment, capture_output=True, check=False).returncode


@contextmanager
def answering(status: int) -> Iterator[tuple[int, list[str]]]:
    """A server that answers all with `status`: (port, the paths that it was asked for)."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port, asked
        finally:
            server.shutdown()
            thread.join()
