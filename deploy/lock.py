"""`python deploy/lock.py`: the hashes of all that the images install, in deploy/locked-{cpu,gpu,openvino}.txt.

pyproject.toml, constraints.txt, constraints-gpu.txt -> uv pip compile --generate-hashes -> deploy/locked-*.txt

The versions are those of the constraints; a hash is the same whichever index a file comes from, and no index is written
down. deploy/locked-sbom.txt holds the tool that writes the image's SBOM. Needs uv: `pip install uv`. Run it after a
change of the dependencies or the constraints; `--upgrade` takes newer versions of the tools that build and describe
the image. Another BASE with another Python: `--python 3.13`.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from requirements import extras_of, requirements

DEPLOY = Path(__file__).resolve().parent
ROOT = DEPLOY.parent
PYTHON = "3.11"  # that of the Dockerfile's BASE
PLATFORM = "x86_64-manylinux_2_28"
BUILD_TOOLS = ("setuptools>=80", "wheel", "cffi", "pkgconfig")  # what the builds of pyvips and of the service need
SBOM_TOOLS = ("cyclonedx-bom>=7.5",)
HEADER = "# Written by deploy/lock.py: versions and hashes of what the image installs.\n"


class LockError(Exception):
    """The hashes cannot be found; one sentence."""


def lock(name: str, lines: list[str], constraints: list[Path], python: str, *, upgrade: bool) -> Path:
    """Write deploy/locked-<name>.txt: `lines` and all that they need, each with the hashes of its files."""
    target = DEPLOY / f"locked-{name}.txt"
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder) / "requirements.in", Path(folder) / "locked.txt"
        source.write_text("\n".join(lines) + "\n", encoding="utf-8")
        if target.exists() and not upgrade:
            result.write_text(target.read_text(encoding="utf-8"), encoding="utf-8")  # uv keeps versions that still fit
        command = [
            "uv", "pip", "compile", "--quiet", "--generate-hashes", "--no-header",
            "--no-emit-index-url", "--no-emit-find-links", "--python-version", python, "--python-platform", PLATFORM,
            "--output-file", str(result), str(source),
        ]  # fmt: skip
        for path in constraints:
            command += ["--constraint", str(path)]
        environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
        try:
            done = subprocess.run(  # noqa: S603  (the words of this file)
                command, env=environment, capture_output=True, text=True, check=False
            )
        except FileNotFoundError as error:
            raise LockError("uv is not installed: pip install uv") from error
        if done.returncode:
            raise LockError(f"{target.name}: {done.stderr.strip().splitlines()[-1]}")
        text = _name_sources(result.read_text(encoding="utf-8"))
    if re.search(r"https?://|--index|--find-links|--trusted", text):
        raise LockError(f"{target.name} would name an index or an address, which it must not")
    target.write_text(HEADER + text, encoding="utf-8")
    return target


def _name_sources(text: str) -> str:
    """The text without the paths of temporary and constraint files: `# via -r /tmp/...` is `# via pyproject.toml`."""
    text = re.sub(r"^    #(?: via|  ) -c \S+\n", "", text, flags=re.MULTILINE)
    return re.sub(r"-r \S+", "pyproject.toml", text)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python deploy/lock.py", description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=PYTHON, metavar="3.N", help="that of BASE (default: %(default)s)")
    parser.add_argument("--upgrade", action="store_true", help="newer versions of what the constraints do not pin")
    options = parser.parse_args(arguments)
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    extras = " ".join(extras_of(pyproject))
    cpu_constraints = [ROOT / "constraints.txt"]
    gpu_constraints = [*cpu_constraints, DEPLOY / "constraints-gpu.txt"]
    try:
        for name, lines, constraints in (
            ("cpu", [*requirements(pyproject, "cpu", extras), *BUILD_TOOLS], cpu_constraints),
            ("gpu", [*requirements(pyproject, "gpu", extras), *BUILD_TOOLS], gpu_constraints),
            ("openvino", [*requirements(pyproject, "openvino", extras), *BUILD_TOOLS], cpu_constraints),
            ("sbom", [*SBOM_TOOLS], []),
        ):
            sys.stdout.write(f"{lock(name, lines, constraints, options.python, upgrade=options.upgrade)}\n")
    except (LockError, OSError, ValueError) as error:
        sys.stderr.write(f"lock.py: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
