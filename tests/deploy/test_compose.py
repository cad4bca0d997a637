"""docker-compose.yml is valid, hardened, and fits the service's own limits."""

import subprocess
import sys
from typing import Any

import pytest

from service.settings import PREFIX
from tests.deploy import files

COMPOSE: dict[str, Any] = files.read(files.ROOT / "docker-compose.yml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("autoencoder", "gpu")
BOUNDS = files.key_values((files.ROOT / "deploy" / "bounds.env").read_text(encoding="utf-8").splitlines())


def test_it_is_a_compose_file() -> None:
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.compose-spec",
        "docker-compose.yml",
    ]
    done = subprocess.run(command, cwd=files.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_up_gives_the_service_and_profiles_the_rest() -> None:
    profiles = {name: one.get("profiles") for name, one in SERVICES.items()}
    assert profiles == {"autoencoder": None, "gpu": ["gpu"], "prometheus": ["observe"], "grafana": ["observe"]}


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_hardened_and_limited(name: str) -> None:
    one = SERVICES[name]
    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert one["restart"] == "unless-stopped"
    assert {"memory", "pids"} <= set(one["deploy"]["resources"]["limits"])
    assert all(entry.startswith("/tmp:size=") for entry in one["tmpfs"])  # a comma in [ ] would make two of one
    assert all(port.startswith(("127.0.0.1:", "${ADDRESS:-127.0.0.1}:")) for port in one["ports"])


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_and_read_is_there(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source = volume["source"].removeprefix("${MODELS:-").removesuffix("}") if isinstance(volume, dict) else ""
        source = source or volume.split(":")[0]
        if source.startswith("."):
            assert (files.ROOT / source).exists(), source
        else:
            assert source in COMPOSE["volumes"]
    for file in SERVICES[name].get("env_file", []):
        assert (files.ROOT / file["path"]).exists() or file.get("required") is False


@pytest.mark.parametrize("name", OURS)
def test_ours_are_built_here_and_listen_where_they_are_published(name: str) -> None:
    one = SERVICES[name]
    assert one["build"]["args"]["ACCELERATOR"] == one["image"].split(":")[1] == {"autoencoder": "cpu"}.get(name, name)
    environment = files.environment()
    assert [port.split(":")[-1] for port in one["ports"]] == [environment["AUTOENCODER_PORT"]]
    assert one["volumes"][0]["target"] == environment["AUTOENCODER_MODELS"]
    assert one["volumes"][0]["read_only"] is True


def test_the_gpu_is_reserved() -> None:
    (device,) = SERVICES["gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}


def test_a_users_own_settings_win() -> None:
    for name in OURS:
        assert [file["path"] for file in SERVICES[name]["env_file"]] == ["deploy/bounds.env", "autoencoder.env"]
        assert not any(key.startswith(PREFIX) for key in SERVICES[name].get("environment", {}))  # it beats env_file


@pytest.mark.parametrize("name", OURS)
def test_whatever_is_let_in_fits_into_the_memory_and_is_answered_in_time(name: str) -> None:
    chosen = files.settings(BOUNDS)
    one = SERVICES[name]
    tmp = sum(files.bytes_of(entry.split("size=")[1]) for entry in one["tmpfs"])
    limits = {
        key: str(value).removesuffix("}").split(":-")[-1] for key, value in one["deploy"]["resources"]["limits"].items()
    }
    assert files.most_memory(chosen, int(limits["cpus"])) + tmp <= files.bytes_of(limits["memory"])
    assert files.longest_request(chosen) < int(one["stop_grace_period"].removesuffix("s"))
