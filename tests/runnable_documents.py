"""Documents whose code is run: Markdown -> blocks -> a clean checkout with a started service -> what they say is so.

A fenced block is, by its language:

- `sh`: run as a script. `localhost:8000` is the started service. What would install, build or deploy is a stand-in that
  checks its words against the files that they name (tests/fake_programs.py), and training is a short one.
- what names `--engine ray` or its records is run where Ray is installed;
- `json` or `text` right after `sh`: what the script prints; "..." stands for anything. A problem document says that the
  script is refused. JSON numbers may be off by a fiftieth.
- `python`: run, in the same folder; it may use the service too.
- `toml`, `yaml`, `ini`: begins with `# NAME`, under which it is written for the scripts that follow; a `toml` is a
  recipe or the settings file, and must be a valid one.
"""

import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from service.settings import Settings
from tests import fake_programs as stand_ins
from training import recipe

ROOT = Path(__file__).parents[1]
RAY = find_spec("ray") is not None and find_spec("pyarrow") is not None
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SHELL = """
curl() { command curl --silent --show-error --fail-with-body --max-time 60 "$@"; }
"""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language ("" if none), its text, the line that it begins on."""

    language: str
    text: str
    line: int


def blocks(document: Path) -> list[Block]:
    """All fenced blocks of a Markdown file, in order."""
    text = document.read_text(encoding="utf-8")
    return [Block(m[1], m[2], text.count("\n", 0, m.start()) + 1) for m in _FENCE.finditer(text)]


@dataclass(frozen=True)
class Checkout:
    """A folder with what documents name, `bin` for PATH, and the service of its models at `address` (host:port)."""

    folder: Path
    bin: Path
    address: str

    def run(self, document: Path) -> dict[int, str]:
        """Do all that a document says, top to bottom; what each `sh` and `python` block printed, by its line.

        Raises AssertionError, which names document and line, where something is not as it says.
        """
        printed = {}
        found = blocks(document)
        for block, after in zip(found, [*found[1:], None], strict=True):
            where = f"{document.name}:{block.line}"
            answer = after.text if after is not None and after.language in ("json", "text") else None
            if not RAY and ("--engine ray" in block.text or "records" in block.text):
                continue
            if block.language == "sh":
                printed[block.line] = self._script(block.text, answer, where)
            elif block.language == "python":
                printed[block.line] = self._python(block.text, answer, where)
            elif block.language in ("toml", "yaml", "ini"):
                self._file(block, where)
            else:
                assert block.language in ("", "json", "text"), f"{where}: nobody checks {block.language}"
        return printed

    def run_notebook(self, notebook: Path) -> str:
        """Run the code cells of a notebook, top to bottom; what they printed. AssertionError if one fails."""
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        return self._python(code, None, notebook.name)

    def _script(self, text: str, answer: str | None, where: str) -> str:
        refused = answer is not None and answer.startswith('{"type": "urn:autoencoder:')
        done = self._done(["bash", "-e", "-o", "pipefail", "-c", _SHELL + self._addressed(text)])
        assert bool(done.returncode) == refused, f"{where} left with {done.returncode}\n{done.stdout}\n{done.stderr}"
        if answer is not None:
            agree(answer, done.stdout, where)
        self._settle()
        return done.stdout

    def _python(self, text: str, answer: str | None, where: str) -> str:
        done = self._done([sys.executable, "-W", "error", "-c", self._addressed(text)])
        assert not done.returncode, f"{where}\n{done.stderr}"
        if answer is not None:
            agree(answer, done.stdout, where)
        return done.stdout

    def _file(self, block: Block, where: str) -> None:
        name = re.match(r"# (\S+\.\w+)\b", block.text)
        assert name is not None, f"{where}: the block does not begin with the name of its file"
        path = self.folder / name[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
        if path.name == "autoencoder-service.toml":
            Settings(**tomllib.loads(block.text))
        elif block.language == "toml":
            recipe.load(str(path))

    def _addressed(self, text: str) -> str:
        return text.replace("localhost:8000", self.address).replace("127.0.0.1:8000", self.address)

    def _done(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PATH": os.pathsep.join((str(self.bin), str(Path(sys.executable).parent), os.environ["PATH"])),
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",  # tiny trainings: threads would only wait for each other
        }
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=400
        )

    def _settle(self) -> None:
        """Wait until the service has seen the packages that a script left."""
        there = {
            f"{path.parent.parent.name}/{path.parent.name}" for path in self.folder.glob("models/*/*/manifest.json")
        }
        for _ in range(100):
            with urllib.request.urlopen(f"http://{self.address}/v1/models") as response:
                models = json.load(response)["models"]
            if there <= {f"{model['name']}/{number}" for model in models for number in model["versions"]}:
                return
            time.sleep(0.1)
        raise AssertionError(f"of {there} only {models} is served")


@contextmanager
def service(folder: Path) -> Iterator[str]:
    """Copy the shipped models into `folder`, and serve them; its address."""
    shutil.copytree(ROOT / "models", folder / "models")
    command = [sys.executable, "-m", "service", "serve", "--port", "0"]
    environment = {**os.environ, "AUTOENCODER_DRAIN": "0", "AUTOENCODER_WATCH": "0.2", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=folder, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            url = next(word for word in process.stdout.readline().split() if word.startswith("http"))
            yield url.removeprefix("http://").rstrip("/")
        finally:
            process.terminate()


def checkout(folder: Path, models: Path, address: str) -> Checkout:
    """What documents name, as a clean checkout has it, in `folder`; `models` are those that are served at `address`."""
    shutil.copytree(ROOT / "docs", folder / "docs")
    (folder / "models").symlink_to(models)
    for name in ("deploy", "Dockerfile", "docker-compose.yml", "Makefile", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    stand_ins.install(folder / "bin")
    return Checkout(folder, folder / "bin", address)


def agree(shown: str, real: str, where: str) -> None:
    """AssertionError unless `real` is what a document shows."""
    try:
        document = json.loads(shown)
    except ValueError:
        pattern = ".*".join(map(re.escape, shown.strip().split("...")))
        assert re.fullmatch(pattern, real.strip(), re.DOTALL), f"{where} shows\n{shown}\nit is\n{real}"
        return
    assert _alike(document, json.loads(real)), f"{where} shows\n{shown}\nit is\n{real[:5000]}"


def _alike(shown: Any, real: Any) -> bool:
    if shown == "...":
        return True
    if isinstance(shown, dict) and isinstance(real, dict):
        names = set(shown) - {"..."}
        enough = names <= set(real) if "..." in shown else names == set(real)
        return enough and all(_alike(shown[name], real[name]) for name in names)
    if isinstance(shown, list) and isinstance(real, list):
        open_ended = shown[-1:] == ["..."]
        shown = shown[:-1] if open_ended else shown
        enough = len(shown) <= len(real) if open_ended else len(shown) == len(real)
        return enough and all(map(_alike, shown, real))
    if isinstance(shown, float) and isinstance(real, int | float):
        return math.isclose(shown, real, rel_tol=0.02, abs_tol=0.02)
    return type(shown) is type(real) and bool(shown == real)
