"""`python deploy/locked.py FILE < requirements`: those and all that they need, as FILE pins them, with hashes.

requirements, one a line -> their names -> what is `# via` them in deploy/locked-*.txt -> pins and hashes for pip

pip checks every file against these hashes (`--require-hashes`), and refuses whatever has none. `--alone` leaves out
what the named ones need; `--without NAME` leaves out that one.
"""

import argparse
import re
import sys
from pathlib import Path

_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==")


class NotLocked(Exception):
    """A requirement has no pin; one sentence."""


def select(text: str, names: list[str], *, alone: bool = False) -> list[str]:
    """Blocks of the file's `text`: of `names` and, unless `alone`, of what they need.

    Raises:
        NotLocked: the file has no pin of one of the names.
    """
    blocks = _split(text)
    selected = {normalize(name) for name in names}
    if missing := sorted(selected - set(blocks)):
        raise NotLocked(f"no hashes of {', '.join(missing)}: run `python deploy/lock.py`")
    parents = {name: _read_parents(block) for name, block in blocks.items()}
    count = 0
    while not alone and count != len(selected):
        count = len(selected)
        selected |= {name for name in blocks if parents[name] & selected}
    return [blocks[name] for name in blocks if name in selected]


def normalize(name: str) -> str:
    """`Jinja2[x]>=3; marker` -> `jinja2`: a project's name as indexes spell it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s\[<>=!~;]", name.strip())[0]).lower()


def _split(text: str) -> dict[str, str]:
    """Name -> its lines, in the order of the file."""
    blocks: dict[str, str] = {}
    name = ""
    for line in text.splitlines(keepends=True):
        if match := _PIN.match(line):
            name = normalize(match[1])
            blocks[name] = ""
        if name:
            blocks[name] += line
    return blocks


def _read_parents(block: str) -> set[str]:
    """Names behind `# via`, in one line or in several."""
    comments = [line.strip().removeprefix("#").strip() for line in block.splitlines() if line.strip().startswith("#")]
    return {normalize(word.removeprefix("via")) for word in comments if word.removeprefix("via").strip()}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python deploy/locked.py", description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="deploy/locked-cpu.txt, locked-gpu.txt or locked-sbom.txt")
    parser.add_argument("--alone", action="store_true", help="without what they need")
    parser.add_argument("--without", metavar="NAME", action="append", default=[], help="leave this one out")
    options = parser.parse_args(arguments)
    names = [line for line in sys.stdin.read().splitlines() if line.strip() and not line.startswith("#")]
    try:
        blocks = select(options.file.read_text(encoding="utf-8"), names, alone=options.alone)
    except (OSError, NotLocked) as error:
        sys.stderr.write(f"locked.py: {error}\n")
        return 2
    left_out = {normalize(name) for name in options.without}
    sys.stdout.write("".join(block for block in blocks if normalize(block.split("==")[0]) not in left_out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
