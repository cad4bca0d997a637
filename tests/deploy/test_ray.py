"""deploy/ray is valid and agrees with the service's settings; a replica that is killed is replaced."""

import os
import signal
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from service.settings import Settings, SettingsError
from tests.deploy import files
from tests.service import packages as doubles

CONFIG: dict[str, Any] = files.read(files.ROOT / "deploy" / "ray" / "serve.yaml")
APPLICATION: dict[str, Any] = CONFIG["applications"][0]
ARGUMENTS = {**APPLICATION["args"], "models": str(files.ROOT / "models")}
DEPLOYMENT: dict[str, Any] = APPLICATION["deployments"][0]


def test_a_replica_has_a_core_for_each_thread_and_takes_what_ray_gives_it() -> None:
    settings = Settings(**ARGUMENTS)
    assert settings.workers == DEPLOYMENT["ray_actor_options"]["num_cpus"]
    assert DEPLOYMENT["max_ongoing_requests"] <= settings.max_requests
    assert DEPLOYMENT["autoscaling_config"]["target_ongoing_requests"] <= DEPLOYMENT["max_ongoing_requests"]
    assert DEPLOYMENT["graceful_shutdown_timeout_s"] >= settings.drain
    module, _ = APPLICATION["import_path"].split(":")
    assert find_spec(module) is not None


def test_ray_would_take_it_and_a_setting_that_there_is_not_is_refused() -> None:
    pytest.importorskip("ray.serve", reason="the extra ray is not installed")
    from ray.serve.schema import ServeDeploySchema

    from service import ray_serve

    ServeDeploySchema.model_validate(CONFIG)
    assert ray_serve.build(ARGUMENTS) is not None
    with pytest.raises(SettingsError, match="wokers"):
        ray_serve.build({"wokers": 2})


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of one replica on a Ray of its own."""
    ray = pytest.importorskip("ray", reason="the extra ray is not installed")
    from ray import serve

    from service import ray_serve

    doubles.write(tmp_path, "small", doubles.image_graphs(), operations=("encode", "decode", "reconstruct"))
    ray.init(address="local", num_cpus=2, object_store_memory=80 * 2**20, include_dashboard=False, log_to_driver=False,
             logging_level="error", runtime_env={"env_vars": {"PYTHONPATH": str(files.ROOT)}})  # fmt: skip
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": 8124})
        serve.run(ray_serve.build({"models": str(tmp_path), "workers": 1, "watch": 0}), name="autoencoder-service")
        yield "http://127.0.0.1:8124/v1/models/small/encode"
    finally:
        serve.shutdown()
        ray.shutdown()


def replica() -> int:
    """Its process."""
    lines = {int(p.name): (p / "cmdline").read_bytes() for p in Path("/proc").iterdir() if p.name.isdigit()}
    return next(pid for pid, line in lines.items() if b"ServeReplica:autoencoder-service" in line)


@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_replica_answers_as_the_service_does_and_is_replaced_when_it_is_killed(served: str) -> None:
    images = np.zeros((1, 28, 28, 1), np.uint8).tolist()
    answer = httpx2.post(served, json={"inputs": images}, timeout=30)
    assert answer.status_code == 200, answer.text
    assert np.asarray(answer.json()["latents"]).shape == (1, 32)
    refusal = httpx2.post(served, content=b"no picture", headers={"Content-Type": "image/png"})
    assert (refusal.status_code, refusal.headers["content-type"]) == (415, "application/problem+json")
    os.kill(replica(), signal.SIGKILL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            again = httpx2.post(served, json={"inputs": images}, timeout=30)
        except httpx2.TransportError:
            continue
        if again.status_code == 200:
            break
    assert again.json() == answer.json()
