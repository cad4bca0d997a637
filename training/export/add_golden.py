"""Adds a golden pair to a package that has none: `python -m training.export.add_golden models/NAME/VERSION`.

package.read (verified) -> its graphs' answers on this machine -> golden.npz and manifest.json, each written atomically

Graphs and their digests stay as they are. The pair holds what the graphs answer today, so only run this on a package
that is known to be good.
"""

import argparse
import sys
from pathlib import Path

from service.model import golden, package
from service.model.errors import PackageError
from training.engine import checkpoint
from training.errors import DiskError


def add(directory: Path) -> bool:
    """Add a golden pair to the package in `directory`; False if it has one already.

    Raises:
        PackageError, OSError: the package cannot be read.
        DiskError: the pair cannot be written; the package stays as it was.
    """
    source = package.read(directory)
    if source.manifest.golden is not None:
        return False
    entry, data = golden.create(source)
    facts = source.manifest.model_copy(update={"golden": entry})
    checkpoint.write_atomically(directory / entry.file, data, "the golden pair")
    # the manifest comes last: until it is written, the package is as it was
    checkpoint.write_atomically(directory / package.MANIFEST, package.to_json(facts), "the manifest")
    package.read(directory)
    return True


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.export.add_golden", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("packages", nargs="+", type=Path, metavar="models/NAME/VERSION")
    for directory in parser.parse_args(arguments).packages:
        try:
            is_added = add(directory.absolute())
        except (PackageError, OSError, DiskError) as error:
            sys.stderr.write(f"training.export.add_golden: {error}\n")
            return 2
        sys.stdout.write(f"{directory}: {'golden pair added' if is_added else 'has a golden pair already'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
