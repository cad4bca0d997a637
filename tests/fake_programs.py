"""Stand-ins for programs that a test of documents cannot run: each checks its words against the files that they name.

`install` puts docker, kubectl, make, pip, ray, serve, torchrun and autoencoder-train into a folder for PATH. They leave
with 1 and a sentence where the real one would fail. The last two are the real one with shorter epochs and narrower
layers.
"""

import re
import sys
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
DENSE = ("optimization.epochs=2", "pretraining.epochs=1", "ablation=[]", "architecture.hidden=[32]")
CONVOLUTIONAL = ("optimization.epochs=1", "ablation=[]")
UNET = (
    "optimization.epochs=1", "data.patch=32", "data.crop=32", "architecture.widths=[8,8]",
    "architecture.encoder_blocks=[0,1]", "architecture.decoder_blocks=[1]", "architecture.context_level=1",
    "quantization=none",
)  # fmt: skip

FINE_TUNING = (
    "optimization.epochs=1",
    "optimization.steps_per_epoch=1",
    "data.patch=32",
    "data.crop=32",
    "quantization=none",
)
MINUTES = "0.05"


def install(folder: Path) -> None:
    """Executables named as the programs that they stand for."""
    folder.mkdir()
    for name in PROGRAMS:
        program = folder / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tests.fake_programs {name} "$@"\n')
        program.chmod(0o755)


def docker(words: list[str]) -> None:
    """`docker compose [--profile P] up [NAME]`, `docker build [--build-arg A=..] [-t T] .`, `docker run .. IMAGE`."""
    if words[0] == "build":
        arguments = re.findall(r"^ARG (\w+)", Path("Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
        assert words[-1] == "."
        assert all(word.partition("=")[0] in arguments for flag, word in _pairs(words) if flag == "--build-arg"), words
        return
    services: dict[str, Any] = _yaml("docker-compose.yml")["services"]
    if words[0] == "run":
        from tests.deploy import files

        assert words[-1] in {service["image"] for service in services.values()}, f"nobody builds {words[-1]}"
        _settings([word for flag, word in _pairs(words) if flag == "-e"])
        ports = [word.rpartition(":")[2] for flag, word in _pairs(words) if flag == "-p"]
        assert set(ports) <= {files.environment()["AUTOENCODER_PORT"]}, ports
        return
    assert words[0] == "compose", words
    profiles = {profile for service in services.values() for profile in service.get("profiles", [])}
    assert all(word in profiles for flag, word in _pairs(words) if flag == "--profile"), f"profiles are {profiles}"
    named = words[words.index("up") + 1 :]
    assert all(word in services for word in named if not word.startswith("-")), f"services are {set(services)}"
    if Path("autoencoder.env").exists():
        _settings(Path("autoencoder.env").read_text(encoding="utf-8").splitlines())


def kubectl(words: list[str]) -> None:
    """`kubectl apply -k FOLDER`, `kubectl kustomize FOLDER`: all that the kustomization names is there."""
    assert words[:-1] in (["apply", "-k"], ["kustomize"]), words
    _kustomization(Path(words[-1]))


def make(words: list[str]) -> None:
    """`make VERB [NAME=value]`."""
    makefile = Path("Makefile").read_text(encoding="utf-8")
    for word in words:
        pattern = rf"^{word.partition('=')[0]} *\?=" if "=" in word else rf"^{word}:"
        assert re.search(pattern, makefile, re.MULTILINE), f"the Makefile has no {word}"


def pip(words: list[str]) -> None:
    """`pip install 'autoencoder-service[extra]'`: there is such an extra. Other packages are taken for granted."""
    assert words[0] in ("install", "uninstall"), words
    extras = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    asked = re.findall(r"(?:^|\s)(?:\.|autoencoder-service)\[([\w,-]+)\]", " ".join(words))
    assert all(extra in extras for group in asked for extra in group.split(",")), f"extras are {set(extras)}"


def ray(words: list[str]) -> None:
    """`ray start --head`, `ray start --address HOST:PORT`."""
    assert words[:2] in (["start", "--head"], ["start", "--address"]), words


def serve(words: list[str]) -> None:
    """`serve deploy FILE`: what it imports is there."""
    assert words[0] == "deploy", words
    for application in _yaml(words[1])["applications"]:
        module, _, name = application["import_path"].partition(":")
        assert f"def {name}(" in (ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"), name


def torchrun(words: list[str]) -> int:
    """`torchrun --nproc-per-node N -m training RECIPE ..`, in one process."""
    assert words[:1] == ["--nproc-per-node"], words
    assert words[2:4] == ["-m", "training"], words
    return train(words[4:])


def train(words: list[str]) -> int:
    """The real command, shortened, where it would train."""
    from training import __main__ as training

    own = [word for word in words if word.endswith(".toml")]
    document = tomllib.loads(Path(own[0]).read_text(encoding="utf-8"))["architecture"] if own else {}
    kind = document.get("type", "")
    if words[0] in ("compare", "import") or {"--list", "--help"} & set(words):
        changes: tuple[str, ...] = ()
    elif "--from" in words:  # the architecture is that of the package
        changes = FINE_TUNING
        words = [MINUTES if flag == "--minutes" else word for flag, word in zip(["", *words], words, strict=False)]
    elif kind == "unet" or {"pages", "photos"} & set(words):
        changes = UNET
    elif kind == "convolutional" or {"denoising", "cats-denoising", "cats-convolutional"} & set(words):
        changes = CONVOLUTIONAL
    else:
        changes = (*DENSE, "classification.steps=0") if words[0] == "classify" else DENSE
    return training.main([*words, *(word for change in changes for word in ("--set", change))])


def _pairs(words: list[str]) -> list[tuple[str, str]]:
    return list(pairwise(words))


def _yaml(path: str | Path) -> Any:
    return yaml.safe_load(Path(path).read_text(encoding="utf-8"))


def _settings(lines: list[str]) -> None:
    from tests.deploy import files

    files.settings(files.key_values(lines))


def _kustomization(folder: Path) -> None:
    """The resources are there, as are the images and objects that it changes; its settings are known and in range."""
    document = _yaml(folder / "kustomization.yaml")
    assert document["kind"] == "Kustomization"
    for resource in document["resources"]:
        path = folder / resource
        if path.is_dir():
            _kustomization(path)
        else:
            assert "kind" in _yaml(path)
    assert {image["name"] for image in document.get("images", [])} <= {"autoencoder-service"}
    for generator in document.get("configMapGenerator", []):
        assert generator["name"] == "autoencoder"
        _settings(generator["literals"])
    for patch in document.get("patches", []):
        assert patch["target"]["name"] == "autoencoder"


PROGRAMS = {
    "docker": docker,
    "kubectl": kubectl,
    "make": make,
    "pip": pip,
    "ray": ray,
    "serve": serve,
    "torchrun": torchrun,
    "autoencoder-train": train,
}

if __name__ == "__main__":
    try:
        sys.exit(PROGRAMS[sys.argv[1]](sys.argv[2:]))
    except AssertionError as error:
        sys.exit(f"{sys.argv[1]}: {error}")
