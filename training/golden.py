"""A golden pair for a package from before packages had one: `python -m training.golden models/NAME/VERSION`.

package.read (verified) -> its own graphs' answers, here -> golden.npz and manifest.json, each whole or absent

Graphs and their digests stay as they are. It says what the graphs answer today: only run it on a package that is
known to be good.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from service import golden, package
from service.package import PackageError


def add(directory: Path) -> bool:
    """Whether a golden pair was added; False if the package has one. Raises PackageError, OSError."""
    opened = package.read(directory)
    if opened.manifest.golden is not None:
        return False
    listed, data = golden.make(opened)
    facts = opened.manifest.model_copy(update={"golden": listed})
    text = json.dumps(facts.model_dump(mode="json", exclude_none=True), indent=2, ensure_ascii=False)
    _replace(directory / listed.file, data)
    _replace(directory / package.MANIFEST, (text + "\n").encode())  # last: before it, the package is as it was
    package.read(directory)
    return True


def _replace(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.golden", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("packages", nargs="+", type=Path, metavar="models/NAME/VERSION")
    for directory in parser.parse_args(arguments).packages:
        try:
            added = add(directory.absolute())
        except (PackageError, OSError) as error:
            sys.stderr.write(f"training.golden: {error}\n")
            return 2
        sys.stdout.write(f"{directory}: {'golden pair added' if added else 'has a golden pair already'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
