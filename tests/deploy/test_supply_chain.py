"""What the image is made of is pinned: hashes of packages, digests of images, one runtime for CPU and GPU."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.deploy import files

DEPLOY = files.ROOT / "deploy"
LOCKED = {
    name: (DEPLOY / f"locked-{name}.txt").read_text(encoding="utf-8") for name in ("cpu", "gpu", "openvino", "sbom")
}
PYPROJECT = tomllib.loads((files.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DIGEST = f"sha256:{'ab' * 32}"


def pins(text: str) -> dict[str, str]:
    return {_normalize(name): version for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)}


def _normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def run(
    *arguments: str, text: str = "", folder: Path = files.ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], input=text, cwd=folder, capture_output=True, text=True, check=False,
        env=environment or None,
    )  # fmt: skip


@pytest.mark.parametrize("name", LOCKED)
def test_every_package_has_hashes_and_no_index_is_named(name: str) -> None:
    for block in re.split(r"^(?=[A-Za-z0-9])", LOCKED[name], flags=re.MULTILINE)[1:]:
        assert re.match(r"[\w.-]+==[^\s]+", block), block[:80]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", block), block[:80]
    assert not re.search(r"https?:|--index|--find-links|--trusted|/tmp/", LOCKED[name])


@pytest.mark.parametrize("name", ["cpu", "gpu", "openvino"])
def test_the_hashes_are_of_the_versions_that_the_constraints_pin(name: str) -> None:
    constraints = pins((files.ROOT / "constraints.txt").read_text(encoding="utf-8"))
    if name == "gpu":
        constraints |= pins((DEPLOY / "constraints-gpu.txt").read_text(encoding="utf-8"))
    locked = pins(LOCKED[name])
    differing = {package for package in locked.keys() & constraints.keys() if locked[package] != constraints[package]}
    assert not differing, "run `python deploy/lock.py`"


@pytest.mark.parametrize("accelerator", ["cpu", "gpu", "openvino"])
@pytest.mark.parametrize("extras", ["", "pdf tracing", "ray"])
def test_what_the_image_installs_is_complete_and_satisfies_the_project(accelerator: str, extras: str) -> None:
    wanted = run("deploy/requirements.py", accelerator, extras).stdout
    selected = run("deploy/locked.py", f"deploy/locked-{accelerator}.txt", text=wanted)
    assert selected.returncode == 0, selected.stderr
    versions = pins(selected.stdout)
    for line in wanted.splitlines():
        requirement = Requirement(line)
        assert requirement.specifier.contains(versions[_normalize(requirement.name)]), line
    assert {"starlette", "pydantic-core", "pyvips-binary"} <= set(versions), "what they need comes along"
    assert ("ray" in versions) == (extras == "ray")
    assert ("pypdfium2" in versions) == ("pdf" in extras)


def test_the_runtimes_for_cpu_and_gpu_are_ones_that_the_project_takes() -> None:
    (requirement,) = (r for r in map(Requirement, PYPROJECT["project"]["dependencies"]) if r.name == "onnxruntime")
    for name, package in (("cpu", "onnxruntime"), ("gpu", "onnxruntime-gpu")):
        version = pins(LOCKED[name])[package]
        assert requirement.specifier.contains(version), f"{package} {version} is not {requirement}"
    gpu = pins((DEPLOY / "constraints-gpu.txt").read_text(encoding="utf-8"))["onnxruntime-gpu"]
    assert Version(gpu).release[:2] == min(
        Version(specifier.version).release[:2] for specifier in requirement.specifier
    ), "the lower bound is there for the GPU's build"
    assert not {"onnxruntime"} & set(pins(LOCKED["gpu"])), "the builds share one import name"


def test_a_package_without_hashes_is_refused_in_a_line() -> None:
    done = run("deploy/locked.py", "deploy/locked-cpu.txt", text="numpy>=2\nunheard-of>=1\n")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "locked.py: no hashes of unheard-of: run `python deploy/lock.py`\n"


def test_one_package_is_selected_alone_or_left_out() -> None:
    alone = run("deploy/locked.py", "deploy/locked-cpu.txt", "--alone", text="pyvips[binary]>=3.2").stdout
    assert list(pins(alone)) == ["pyvips"]
    others = run("deploy/locked.py", "deploy/locked-cpu.txt", "--without", "pyvips", text="pyvips[binary]>=3.2").stdout
    assert "pyvips" not in pins(others)
    assert "cffi" in pins(others)


def test_pip_in_the_image_refuses_what_has_no_hash_and_the_sbom_is_made_of_what_is_installed() -> None:
    installs = [rest for name, rest in files.instructions() if name == "RUN" and "pip" in rest]
    for command in " && ".join(installs).split("&&"):
        if re.search(r"-m pip .*\b(install|wheel)\b", command):
            assert "--require-hashes" in command or "--no-index" in command, command
    (bom,) = (rest for name, rest in files.instructions() if name == "RUN" and "cyclonedx-py environment" in rest)
    assert bom.endswith("/opt/autoencoder/bin/python")
    assert any(
        name == "COPY" and "sbom.cdx.json" in rest and "--from=bom" in rest for name, rest in files.instructions()
    )


def _copy(folder: Path) -> Path:
    (folder / "deploy").mkdir()
    for name in ("Dockerfile", "docker-compose.yml", "deploy/pin_images.py"):
        shutil.copy(files.ROOT / name, folder / name)
    return folder


def _pin(folder: Path, *arguments: str, answer: str) -> subprocess.CompletedProcess[str]:
    """pin_images.py with a skopeo that answers with that line of shell."""
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "skopeo").write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked\n{answer}\n')
    (programs / "skopeo").chmod(0o755)
    return run(str(folder / "deploy/pin_images.py"), *arguments, folder=folder, PATH=str(programs))


def test_images_are_pinned_to_the_digests_that_their_tags_have(tmp_path: Path) -> None:
    folder = _copy(tmp_path)
    assert _pin(folder, "--check", answer=f"echo {DIGEST}").returncode == 1
    assert DIGEST not in (folder / "Dockerfile").read_text()
    assert _pin(folder, answer=f"echo {DIGEST}").returncode == 0
    base = re.search(r"^ARG BASE=(.*)$", (folder / "Dockerfile").read_text(), re.MULTILINE)
    assert base is not None
    assert re.fullmatch(rf"docker\.io/library/python:3\.\d+-slim-bookworm@{DIGEST}", base[1])
    images = re.findall(r"^    image: (.*)$", (folder / "docker-compose.yml").read_text(), re.MULTILINE)
    assert [image for image in images if "@" not in image] == ["autoencoder-service:cpu", "autoencoder-service:gpu"]
    assert len([image for image in images if image.endswith(DIGEST)]) == 2
    assert "docker://docker.io/library/python:3" in (folder / "asked").read_text()
    assert _pin(folder, "--check", answer=f"echo {DIGEST}").returncode == 0
    moved = DIGEST.replace("ab", "cd")
    assert _pin(folder, "--check", answer=f"echo {moved}").returncode == 1
    assert _pin(folder, answer=f"echo {moved}").returncode == 0
    assert DIGEST not in (folder / "Dockerfile").read_text()


@pytest.mark.parametrize("answer", ["echo unauthorized >&2; exit 1", "echo latest", "exit 0"])
def test_a_registry_that_does_not_answer_changes_nothing(tmp_path: Path, answer: str) -> None:
    folder = _copy(tmp_path)
    done = _pin(folder, answer=answer)
    assert done.returncode == 2
    assert done.stderr.startswith("pin_images.py: no digest of docker.io/")
    assert done.stderr.count("\n") == 1
    assert (folder / "Dockerfile").read_bytes() == (files.ROOT / "Dockerfile").read_bytes()


@pytest.mark.parametrize(("password", "code"), [("", 2), ("admin", 2), ("correct horse", 7)])
def test_grafana_starts_with_a_password_of_the_users_only(password: str, code: int, tmp_path: Path) -> None:
    service = files.read(files.ROOT / "docker-compose.yml")["services"]["grafana"]
    shell, flag, script = service["entrypoint"]
    script = script.replace("$$", "$").replace("exec /run.sh", "exit 7")
    assert service["environment"]["GF_SECURITY_ADMIN_PASSWORD"] == "${GRAFANA_PASSWORD:-}"
    done = subprocess.run(
        [shell, flag, script], env={"GF_SECURITY_ADMIN_PASSWORD": password}, capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert ("set GRAFANA_PASSWORD to a password of your own" in done.stderr) == (code == 2)


def test_the_scheduled_job_runs_the_scripts_that_are_here() -> None:
    workflow = files.read(files.ROOT / ".github/workflows/update-pins.yml")
    steps = [step.get("run", "") for step in workflow["jobs"]["update"]["steps"]]
    scripts = [word for run in steps for word in run.split() if word.startswith("deploy/")]
    assert scripts == ["deploy/pin_images.py", "deploy/lock.py"]
    assert all((files.ROOT / script).exists() for script in scripts)
