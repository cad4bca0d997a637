"""`python deploy/requirements.py cpu|gpu|openvino [EXTRAS]`: the base dependencies of pyproject.toml, one a line.

EXTRAS are names of the service's extras, such as `pdf tracing`, in one word; theirs are added.

The builds of onnxruntime share one import name, so an environment holds one of them: `gpu` replaces onnxruntime by
onnxruntime-gpu with the CUDA and cuDNN wheels that it names, pinned by deploy/constraints-gpu.txt; `openvino` by
onnxruntime-openvino, whose releases lag behind.
"""

import re
import sys
import tomllib
from pathlib import Path

GPU = "onnxruntime-gpu[cuda,cudnn]"
OPENVINO = "onnxruntime-openvino>=1.24"
ACCELERATORS = ("cpu", "gpu", "openvino")
NOT_SERVED = "training"  # the service never imports torch


def requirements(pyproject: str, accelerator: str, extras: str = "") -> list[str]:
    """The requirements of the image.

    Args:
        pyproject: the text of pyproject.toml.
        accelerator: one of ACCELERATORS.
        extras: of the service, with spaces between.
    Raises:
        ValueError: another accelerator or extra, or pyproject.toml does not name onnxruntime exactly once.
    """
    if accelerator not in ACCELERATORS:
        raise ValueError(f"ACCELERATOR is {accelerator!r}; allowed are {', '.join(ACCELERATORS)}")
    project = tomllib.loads(pyproject)["project"]
    named: list[str] = project["dependencies"]
    known: dict[str, list[str]] = project["optional-dependencies"]
    allowed = extras_of(pyproject)
    for extra in extras.split():
        if extra not in allowed:
            raise ValueError(f"EXTRAS has {extra!r}; allowed are {', '.join(allowed)}")
    more = [line for extra in extras.split() for line in known[extra]]
    runtimes = [line for line in named if re.match(r"onnxruntime\b", line)]
    if len(runtimes) != 1:
        raise ValueError("pyproject.toml must name onnxruntime exactly once")
    runtime = {
        "cpu": runtimes[0],
        "gpu": GPU + runtimes[0].removeprefix("onnxruntime"),  # the same bounds: the service is one
        "openvino": OPENVINO,
    }[accelerator]
    return [*(runtime if line in runtimes else line for line in named), *more]


def extras_of(pyproject: str) -> list[str]:
    """Names of the service's extras, sorted, in the text of pyproject.toml."""
    return sorted(set(tomllib.loads(pyproject)["project"]["optional-dependencies"]) - {NOT_SERVED})


def main() -> int:
    if len(sys.argv) not in (2, 3):
        sys.stderr.write(
            "usage: python requirements.py cpu|gpu|openvino [EXTRAS]   (pyproject.toml is in the working folder)\n"
        )
        return 2
    try:
        lines = requirements(Path("pyproject.toml").read_text(encoding="utf-8"), *sys.argv[1:])
    except (OSError, ValueError) as wrong:
        sys.stderr.write(f"requirements.py: {wrong}\n")
        return 2
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
