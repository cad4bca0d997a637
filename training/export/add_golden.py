"""A golden pair for a package from before packages had one: `python -m training.export.add_golden models/NAME/VERSION`.

package.read (verified) -> its own graphs' answers, here -> golden.npz and manifest.json, each whole or absent

Graphs and their digests stay as they are. It says what the graphs answer today: only run it on a package that is
known to be good.
"""

import argparse
import json
import sys
from pathlib import Path

from service.model import golden, package
from service.model.errors import PackageError
from training.engine import checkpoint
from training.errors import DiskError


def add(directory: Path) -> bool:
    """Whether a golden pair was added; False if the package has one. Raises PackageError, OSError, DiskError."""
    opened = package.read(directory)
    if opened.manifest.golden is not None:
        return False
    listed, data = golden.create(opened)
    facts = opened.manifest.model_copy(update={"golden": listed})
    text = json.dumps(facts.model_dump(mode="json", exclude_none=True), indent=2, ensure_ascii=False)
    checkpoint.write(directory / listed.file, data, "the golden pair")
    # last: before it, the package is as it was
    checkpoint.write(directory / package.MANIFEST, (text + "\n").encode(), "the manifest")
    package.read(directory)
    return True


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.export.add_golden", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("packages", nargs="+", type=Path, metavar="models/NAME/VERSION")
    for directory in parser.parse_args(arguments).packages:
        try:
            added = add(directory.absolute())
        except (PackageError, OSError, DiskError) as error:
            sys.stderr.write(f"training.export.add_golden: {error}\n")
            return 2
        sys.stdout.write(f"{directory}: {'golden pair added' if added else 'has a golden pair already'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
