"""Command line `autoencoder-train`: from a recipe, or from a folder of data and three options, to a model package.

arguments -> recipe -> data -> train_denoiser | train_autoencoder | train_classifier | compare -> files, a report
arguments -> import_model -> a package

autoencoder-train cats-stacked
autoencoder-train my-recipe.toml --set optimization.epochs=50
autoencoder-train --data path/to/folder --kind stacked --latent-dim 32 --out models/mine
autoencoder-train compare models/cats-stacked models/mine
torchrun --nproc-per-node 4 -m training cats-stacked
autoencoder-train classify drawings-classified
autoencoder-train import --denoiser drunet.onnx --out models/drunet
"""

import argparse
import json
import sys
import time
import tomllib
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

import torch

from service.model.errors import PackageError
from service.model.files.plain_files import to_printable
from training import (
    __version__,
    compare,
    fine_tuning,
    import_model,
    own_data,
    train_autoencoder,
    train_classifier,
    train_denoiser,
)
from training import recipe as recipes
from training.data import datasets, patches
from training.engine import distributed
from training.engine.curve_log import check_log_folder
from training.engine.progress import stage
from training.engine.run_lock import lock_run
from training.errors import RecipeError, TrainingError
from training.export import recipe_file
from training.own_data import OwnData
from training.recipe import AutoencoderRecipe, DenoiserRecipe, Recipe, TrainedKind


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0; 2 with one line on stderr for an error that the user can correct; 130 when interrupted."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        if words[:1] == ["compare"]:
            compare.main(words[1:])
        elif words[:1] == ["import"]:
            distributed.refuse_torchrun("import")
            _report(import_model.main(words[1:]))
        elif words[:1] == ["classify"]:
            _classify(_classify_parser().parse_args(words[1:]))
        else:
            with distributed.process_group():
                _train(_parser().parse_args(words))
    except (TrainingError, PackageError) as error:
        if distributed.is_main_process() or not isinstance(error, RecipeError):
            print(f"autoencoder-train: {to_printable(str(error))}", file=sys.stderr)
        return 2
    except OSError as error:  # of a disk or a pipe, where no error of training.errors says more
        prefix = f"{error.filename}: " if error.filename else ""
        sentence = to_printable(f"{prefix}{error.strerror or error}")
        print(f"autoencoder-train: {sentence}; no package was written", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("autoencoder-train: interrupted; the same command goes on from the last epoch", file=sys.stderr)
        return 130
    return 0


def _train(options: argparse.Namespace) -> None:
    """List the recipes, or train and report."""
    if options.list:
        _list_recipes()
        return
    source = _load_recipe(options)
    recipe = source.draft() if isinstance(source, OwnData) else source
    out = Path(options.out or Path("models") / recipe.name)
    recipe = recipes.with_changes(recipe, {"name": out.name})
    distributed.check_batch_sizes(recipe)
    device = distributed.select_device(options.device)
    start = None if options.start is None else Path(options.start)
    folder = Path(options.runs) / out.name
    recipe = _find_data(recipe, folder)
    log_folder = None if options.log_dir is None else Path(options.log_dir) / out.name
    if log_folder is not None and distributed.is_main_process():
        check_log_folder(log_folder)
    with ExitStack() as stack:
        with distributed.main_process_first():
            if distributed.is_main_process():
                stack.enter_context(lock_run(folder))
                if options.fresh:
                    for checkpoint in folder.rglob("*.pt"):
                        checkpoint.unlink()
        directory = _run(
            recipe,
            source if isinstance(source, OwnData) else None,
            out,
            Path(options.runs),
            device,
            start,
            options.minutes,
            log_folder,
            resume=options.resume,
            is_exported=not options.no_package,
        )
    if directory is not None:
        _report(directory)


def _classify(options: argparse.Namespace) -> None:
    distributed.refuse_torchrun("classify")
    recipe = recipes.load_autoencoder(options.recipe, dict(_parse_assignment(text) for text in options.set))
    out = Path(options.out or Path("classifiers") / recipe.name)
    with lock_run(Path(options.runs) / recipe.name):
        train_classifier.run(
            recipe, out, Path(options.runs), distributed.select_device(options.device),
            encoder=options.encoder, use_test=not options.tune,
        )  # fmt: skip


def _run(
    recipe: Recipe,
    own: OwnData | None,
    out: Path,
    runs: Path,
    device: torch.device,
    start: Path | None,
    minutes: float | None,
    log_folder: Path | None,
    *,
    resume: bool,
    is_exported: bool,
) -> Path | None:
    """Load the recipe's data, train; the directory of the new package, None if only training was asked for.

    Of `own` data the recipe is a draft, which the data complete.
    """
    start_time = time.monotonic()
    is_main = distributed.is_main_process()
    if isinstance(recipe, DenoiserRecipe):
        with distributed.main_process_first(), stage(f"{out.name}: reading {recipe.data.source}", is_main=is_main):
            restoration_data = patches.load(recipe)
        _print_remarks(restoration_data.remarks)
        if not is_exported:
            train_denoiser.train(
                recipe, restoration_data, runs / out.name, device,
                start=start, minutes=minutes, log_folder=log_folder, resume=resume,
            )  # fmt: skip
            return None
        return train_denoiser.run(
            recipe, restoration_data, out, runs, device,
            start=start, minutes=minutes, log_folder=log_folder, resume=resume,
        )  # fmt: skip
    if start is not None or resume or not is_exported:
        raise RecipeError("--from, --resume and --no-package are for recipes of denoisers (architecture unet)")
    with distributed.main_process_first(), stage(f"{out.name}: reading {recipe.data.source}", is_main=is_main):
        data = datasets.load(recipe.data)
    _print_remarks(data.remarks)
    if own is not None:
        completed = recipes.with_changes(own.complete(data), {"name": out.name})
        if isinstance(completed, AutoencoderRecipe):
            recipe = completed
        _print_remarks([own_data.describe(recipe)])
    if minutes is not None:
        minutes = max(0.0, minutes - (time.monotonic() - start_time) / 60)
    return train_autoencoder.run(recipe, data, out, runs, device, minutes, log_folder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="autoencoder-train",
        description="Train an autoencoder and leave a package that the service serves.",
        epilog="Without a recipe, --data and --kind choose settings by your own data. "
        "autoencoder-train compare FOLDER ... shows packages beside each other; "
        "autoencoder-train import takes a model that exists.",
    )
    parser.add_argument("recipe", nargs="?", help="a .toml file, or the name of a shipped recipe")
    parser.add_argument("--data", help="a folder of images, .npy, .npz, IDX or CSV; replaces the recipe's data line")
    parser.add_argument("--kind", choices=get_args(TrainedKind), help="without a recipe")
    parser.add_argument("--latent-dim", type=int, metavar="N", help="how many numbers the latent holds")
    parser.add_argument("--out", metavar="FOLDER", help="the model's folder; default models/<recipe's name>")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a line of the recipe")
    parser.add_argument("--runs", default="runs", metavar="FOLDER", help="where checkpoints lie (default: %(default)s)")
    parser.add_argument("--fresh", action="store_true", help="start again, do not resume from a checkpoint")
    parser.add_argument(
        "--from", dest="start", metavar="PACKAGE", help="start from a package's or a checkpoint's weights (denoisers)"
    )
    parser.add_argument("--minutes", type=_minutes, metavar="N", help="end after N minutes")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint though recipe or data have changed (denoisers)"
    )
    parser.add_argument("--no-package", action="store_true", help="train only; a later call writes the package")
    parser.add_argument(
        "--log-dir", metavar="FOLDER", help="write the learning curve there while it grows: CSV, TensorBoard's events"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1; default: the GPU if there is one")
    parser.add_argument("--list", action="store_true", help="list the shipped recipes")
    parser.add_argument("--version", action="version", version=__version__)
    return parser


def _classify_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="autoencoder-train classify",
        description="Classifiers that start from a trained encoder, beside ones that start from random weights: "
        "the error of each, by number of labels, over several seeds.",
    )
    parser.add_argument("recipe", help="a .toml file or the name of a shipped recipe, with a section [classification]")
    parser.add_argument(
        "--encoder", metavar="FILE", help="encoder.safetensors, or a package's folder; default: trained"
    )
    parser.add_argument("--tune", action="store_true", help="show errors on validation, leave test alone")
    parser.add_argument(
        "--out", metavar="FOLDER", help="where it leaves its files; default classifiers/<recipe's name>"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a line of the recipe")
    parser.add_argument("--runs", default="runs", metavar="FOLDER", help="where checkpoints lie (default: %(default)s)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1; default: the GPU if there is one")
    return parser


def _load_recipe(options: argparse.Namespace) -> Recipe | OwnData:
    """The recipe that the options name, with all changes applied; or own data, for which there is none yet."""
    changes = dict(_parse_assignment(text) for text in options.set)
    if options.data is not None:
        changes = {"data": {"source": options.data}, **changes}
    if options.recipe is None:
        if options.data is None or options.kind is None:
            raise RecipeError("give a recipe, or --data and --kind; autoencoder-train --list shows the shipped recipes")
        if options.out is None:
            raise RecipeError("give --out models/NAME: where the package goes, and what the model is called")
        description = f"{options.kind.capitalize()} autoencoder of {Path(options.data).name}."
        changes = {"name": Path(options.out).name, "description": description, **changes}
    elif options.kind is not None:
        raise RecipeError("--kind is for a run without a recipe; a recipe says its own kind")
    if options.latent_dim is not None:
        changes |= {"architecture.latent_dim": options.latent_dim, "architecture.latent_channels": "none"}
    if options.recipe is None:
        return OwnData(str(options.kind), changes)
    if _is_fine_tuning(options):
        changes = fine_tuning.choose_settings(changes, options.recipe, Path(options.start), Path(options.data))
    return recipes.load(options.recipe, changes)


def _is_fine_tuning(options: argparse.Namespace) -> bool:
    """Whether a trained model goes on learning from other data."""
    return options.start is not None and options.data is not None


def _find_data(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with the paths of its data: a package's recipe has their names alone, the run's `folder` the paths."""
    try:
        known = json.loads((folder / "history.json").read_bytes())["data"]
        values = {key: Path(known[key]) for key in recipe_file.PATH_KEYS if key in known}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return recipe
    changes = {
        f"data.{key}": str(path)
        for key, path in values.items()
        if getattr(recipe.data, key, None) == path.name and not Path(path.name).exists() and path.exists()
    }
    return recipes.with_changes(recipe, changes) if changes else recipe


def _parse_assignment(text: str) -> tuple[str, Any]:
    """`optimization.epochs=3` -> (key, value); the value is TOML, or else a plain word."""
    key, equals, value = text.partition("=")
    if not equals:
        raise RecipeError(f"--set {text}: write KEY=VALUE, such as --set optimization.epochs=50")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = -1.0
    if not 0 <= minutes <= 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of minutes, 0 or more")
    return minutes


def _list_recipes() -> None:
    for name in recipes.builtin_recipes():
        print(f"{name:24}{recipes.load(name).description}")


def _print_remarks(remarks: Sequence[str]) -> None:
    """What was read and what was left out, once, before anything is trained."""
    if distributed.is_main_process():
        for remark in remarks:
            print(remark, flush=True)


def _report(directory: Path) -> None:
    """Print the package's metrics beside their baselines, and the command that serves it."""
    manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    for name, metric in manifest["evaluation"].items():
        baselines = "  ".join(f"{baseline} {value:.4g}" for baseline, value in metric["baselines"].items())
        print(f"{name:34}{metric['value']:<10.4g}{baselines}")
    print(f"\n{directory}: written; its README.md shows the pictures. Serve it with:")
    print(f"autoencoder-service serve --models {directory.parents[1]}")
    if manifest.get("shortfalls"):
        print("\nBefore you use it:")
        for line in manifest["shortfalls"]:
            print(f"- {line}")


if __name__ == "__main__":
    sys.exit(main())
