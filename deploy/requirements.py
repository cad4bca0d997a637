"""`python deploy/requirements.py cpu|gpu`: pyproject.toml's base dependencies, one a line, for the image.

The builds of onnxruntime share one import name, so an environment holds one of them: `gpu` replaces onnxruntime by
onnxruntime-gpu with the CUDA and cuDNN wheels that it names; deploy/constraints-gpu.txt pins all of these.
"""

import re
import sys
import tomllib
from pathlib import Path

GPU = "onnxruntime-gpu[cuda,cudnn]"


def requirements(pyproject: str, accelerator: str) -> list[str]:
    """The requirements of the image.

    Args:
        pyproject: the text of pyproject.toml.
        accelerator: `cpu` or `gpu`.
    Raises:
        ValueError: another accelerator, or pyproject.toml does not name onnxruntime exactly once.
    """
    if accelerator not in ("cpu", "gpu"):
        raise ValueError(f"ACCELERATOR is {accelerator!r}; allowed are cpu and gpu")
    named: list[str] = tomllib.loads(pyproject)["project"]["dependencies"]
    others = [line for line in named if not re.match(r"onnxruntime\b", line)]
    if len(others) != len(named) - 1:
        raise ValueError("pyproject.toml must name onnxruntime exactly once")
    return named if accelerator == "cpu" else [*others, GPU]


def main() -> int:
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python requirements.py cpu|gpu   (pyproject.toml is in the working folder)\n")
        return 2
    try:
        lines = requirements(Path("pyproject.toml").read_text(encoding="utf-8"), sys.argv[1])
    except (OSError, ValueError) as wrong:
        sys.stderr.write(f"requirements.py: {wrong}\n")
        return 2
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
