"""Adds a score to a package that has none: `python -m training.export.add_score models/NAME/VERSION`.

package.read (verified) -> the recipe's data -> training.evaluation.scores.choose -> score.npz and manifest.json

Nothing is trained again; graphs and their digests stay as they are. The data must be those of the package: as many
samples in each split.
"""

import sys
from pathlib import Path
from typing import get_args

from service.model import package
from service.model.manifest import Component
from service.model.runtime import Model
from training import recipe as recipes
from training.data import datasets
from training.data.datasets import Dataset
from training.errors import TrainingError
from training.evaluation import scores
from training.export import package_changes


def add(
    directory: Path, data: Dataset | None = None, *, is_replaced: bool = False, wanted: Component | None = None
) -> str | None:
    """Add a score to the package in `directory`; its name, or None if it has one already.

    Args:
        data: that the package was trained on; None: those of the recipe that it names.
        is_replaced: a score that is there is chosen again.
        wanted: this score, whatever is best.
    Raises:
        PackageError, OSError: the package cannot be read.
        TrainingError: no such recipe or data, other data, or the score cannot be written; the package stays as it was.
    """
    source = package.read(directory)
    facts = source.manifest
    if facts.score is not None and not is_replaced:
        return None
    if facts.training is None or "reconstruct" not in facts.operations:
        raise TrainingError(f"{directory}: only packages that were trained here and reconstruct get a score")
    if data is None:
        data = datasets.load(recipes.load_autoencoder(facts.training.recipe).data)
    counts = tuple(len(split) for split in (data.train, data.validation, data.test))
    expected = facts.training.data
    if counts != (expected.train, expected.validation, expected.test):
        raise TrainingError(
            f"{directory} was trained on {expected.train} samples, with {expected.validation} for validation and "
            f"{expected.test} for test; {data.source} has {counts[0]}, {counts[1]} and {counts[2]}: give the same data"
        )
    seed = facts.training.seed
    entry, content = scores.choose(Model(source, "cpu"), data.train, data.validation, data.test, seed, wanted)
    changed = facts.model_copy(update={"score": entry})
    package_changes.write(directory, changed, [(entry.file, content, "the score")])
    return entry.name


def main(arguments: list[str] | None = None) -> int:
    parser = package_changes.build_parser("training.export.add_score", __doc__)
    parser.add_argument("--replace", action="store_true", help="choose a score that is there again")
    parser.add_argument(
        "--score", choices=get_args(Component), help="this one instead of the best, for a small package"
    )
    options = parser.parse_args(arguments)

    def change(directory: Path) -> str:
        name = add(directory, is_replaced=options.replace, wanted=options.score)
        return "has a score already" if name is None else f"score {name}"

    return package_changes.run("training.export.add_score", options.packages, change)


if __name__ == "__main__":
    sys.exit(main())
