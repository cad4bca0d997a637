"""What the tests of deployment read: files of this repository, and what settings mean for memory and time.

No engine, no cluster, no network.
"""

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from service.settings import MEGAPIXEL, MIB, PREFIX, Settings

ROOT = Path(__file__).parents[2]
BASE = ROOT / "deploy" / "kubernetes" / "base"
OBSERVE = ROOT / "deploy" / "observe"


def read(path: Path) -> Any:
    """The one document of a YAML or JSON file."""
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)


def instructions() -> Iterator[tuple[str, str]]:
    """(instruction, what follows it) of the Dockerfile, continued lines joined, comments left out."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, rest = line.partition(" ")
        yield name, " ".join(rest.split())


def environment() -> dict[str, str]:
    """All that ENV sets in the Dockerfile; of two stages the later."""
    return dict(word.split("=", 1) for name, rest in instructions() if name == "ENV" for word in shlex.split(rest))


def key_values(lines: list[str]) -> dict[str, str]:
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def settings(variables: Mapping[str, str]) -> Settings:
    """Settings from AUTOENCODER_* variables as the service reads them; raises where it would refuse to start."""
    ours = {name: value for name, value in variables.items() if name != f"{PREFIX}MODELS"}
    return Settings(
        **{"models": ROOT / "models", **{name.removeprefix(PREFIX).lower(): value for name, value in ours.items()}}  # type: ignore[arg-type]
    )


def longest_request(chosen: Settings) -> float:
    """Seconds from SIGTERM to the last answer: the drain, and a request of its size, or as long as it may ask for."""
    by_size = chosen.deadline + chosen.deadline_per_megapixel * chosen.max_inside_pixels / MEGAPIXEL
    return chosen.drain + max(by_size, chosen.max_deadline)


def most_memory(chosen: Settings, workers: int) -> float:
    """Bytes that the service holds when as much as may be is inside; how it was measured: deploy/bounds.env."""
    return (256 + 640 * workers) * MIB + 2 * chosen.max_inside_bytes + 27 * chosen.max_inside_pixels


def bytes_of(size: str) -> int:
    """4Gi, 64Mi, 4g, 64m as bytes."""
    units = {"k": 2**10, "m": 2**20, "g": 2**30}
    return int(size[:-1]) * units[size[-1]] if size[-1] in units else int(size[:-2]) * units[size[-2].lower()]
