"""Adds a golden pair to a package that has none: `python -m training.export.add_golden models/NAME/VERSION`.

package.read (verified) -> its graphs' answers on this machine -> golden.npz and manifest.json, each written atomically

Graphs and their digests stay as they are. The pair holds what the graphs answer today, so only run this on a package
that is known to be good.
"""

import sys
from pathlib import Path

from service.model import golden, package
from training.export import package_changes


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
    package_changes.write(directory, facts, [(entry.file, data, "the golden pair")])
    return True


def main(arguments: list[str] | None = None) -> int:
    def change(directory: Path) -> str:
        return "golden pair added" if add(directory) else "has a golden pair already"

    asked = package_changes.build_parser("training.export.add_golden", __doc__).parse_args(arguments)
    return package_changes.run("training.export.add_golden", asked.packages, change)


if __name__ == "__main__":
    sys.exit(main())
