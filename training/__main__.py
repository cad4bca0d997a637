"""`autoencoder-train RECIPE`: from a recipe, or from a folder of data and three words, to a model package.

autoencoder-train cats-stacked
autoencoder-train my-recipe.toml --set optimization.epochs=50
autoencoder-train --data path/to/folder --kind stacked --latent-dim 32 --out models/mine
autoencoder-train compare models/cats-stacked models/mine
torchrun --nproc-per-node 4 -m training cats-stacked
autoencoder-train classify drawings-classified
"""

import argparse
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import torch

from service.model.errors import PackageError
from training import __version__, compare, recipe, train_autoencoder, train_classifier, train_denoiser
from training.data import datasets, patches
from training.engine import distributed
from training.errors import RecipeError, TrainingError
from training.recipe import Recipe, Unet


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0; 2 with one line on stderr for what a user can put right; 130 when interrupted."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        if given[:1] == ["compare"]:
            compare.main(given[1:])
        elif given[:1] == ["classify"]:
            _classify(_classify_parser().parse_args(given[1:]))
        else:
            with distributed.process_group():
                _train(_parser().parse_args(given))
    except (TrainingError, PackageError) as error:
        if distributed.is_main_process() or not isinstance(error, RecipeError):
            print(f"autoencoder-train: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # of a disk or a pipe, where nobody had more to say
        where = f"{error.filename}: " if error.filename else ""
        print(f"autoencoder-train: {where}{error.strerror or error}; no package was written", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("autoencoder-train: interrupted; the same command goes on from the last epoch", file=sys.stderr)
        return 130
    return 0


def _train(asked: argparse.Namespace) -> None:
    """Do what the options say: list the recipes, or train and report."""
    if asked.list:
        _list()
        return
    chosen = _recipe(asked)
    out = Path(asked.out or Path("models") / chosen.name)
    chosen = recipe.with_changes(chosen, {"name": out.name})
    distributed.check_batch_sizes(chosen)
    device = _device(asked.device)
    if asked.fresh and distributed.is_main_process():
        for checkpoint in (Path(asked.runs) / out.name).rglob("*.pt"):
            checkpoint.unlink()
    _report(_run(chosen, out, Path(asked.runs), device))


def _classify(asked: argparse.Namespace) -> None:
    distributed.refuse_torchrun("classify")
    chosen = recipe.load(asked.recipe, dict(_assignment(text) for text in asked.set))
    train_classifier.main(asked, chosen, _device(asked.device))


def _run(chosen: Recipe, out: Path, runs: Path, device: torch.device) -> Path:
    """Load the recipe's data, train; the directory of the new package."""
    if isinstance(chosen.architecture, Unet):
        with distributed.main_process_first():
            pairs = patches.load(chosen)
        return train_denoiser.run(chosen, pairs, out, runs, device)
    with distributed.main_process_first():
        data = datasets.load(chosen.data)
    return train_autoencoder.run(chosen, data, out, runs, device)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="autoencoder-train",
        description="Train an autoencoder and leave a package that the service serves.",
        epilog="Without a recipe, --data and --kind choose a shipped recipe's settings for your own data. "
        "autoencoder-train compare FOLDER ... shows packages beside each other.",
    )
    parser.add_argument("recipe", nargs="?", help="a .toml file, or the name of a shipped recipe")
    parser.add_argument("--data", help="a folder of images, .npy, .npz, IDX or CSV; replaces the recipe's data line")
    parser.add_argument("--kind", choices=["undercomplete", "stacked", "denoising"], help="without a recipe")
    parser.add_argument("--latent-dim", type=int, metavar="N", help="how many numbers the latent holds")
    parser.add_argument("--out", metavar="FOLDER", help="the model's folder; default models/<recipe's name>")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a line of the recipe")
    parser.add_argument("--runs", default="runs", metavar="FOLDER", help="where checkpoints lie (default: %(default)s)")
    parser.add_argument("--fresh", action="store_true", help="start again, do not resume from a checkpoint")
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


def _recipe(asked: argparse.Namespace) -> Recipe:
    """The recipe that was asked for, with all changes applied."""
    changes = dict(_assignment(text) for text in asked.set)
    if asked.data is not None:
        changes = {"data": {"source": asked.data}, **changes}
    if asked.recipe is None:
        if asked.data is None or asked.kind is None:
            raise RecipeError("give a recipe, or --data and --kind; autoencoder-train --list shows the shipped recipes")
        if asked.out is None:
            raise RecipeError("give --out models/NAME: where the package goes, and what the model is called")
        changes = {
            "description": f"{asked.kind.capitalize()} autoencoder of {Path(asked.data).name}.",
            "notes": "none",
            **changes,
        }
    elif asked.kind is not None:
        raise RecipeError("--kind is for a run without a recipe; a recipe says its own kind")
    if asked.latent_dim is not None:
        changes |= {"architecture.latent_dim": asked.latent_dim, "architecture.latent_channels": "none"}
    return recipe.load(asked.recipe or f"cats-{asked.kind}", changes)


def _device(name: str | None) -> torch.device:
    """The device by name, else the GPU if there is one."""
    try:
        name = name or ("cuda" if torch.cuda.is_available() else "cpu")
        device = torch.device(distributed.local_gpu() if name == "cuda" else name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch's own words for an unknown or absent device
        raise RecipeError(f"device {name} is not here: {str(error).splitlines()[0]}") from error
    return device


def _assignment(text: str) -> tuple[str, Any]:
    """`optimization.epochs=3` -> (key, value); the value is TOML, or else a plain word."""
    key, equals, value = text.partition("=")
    if not equals:
        raise RecipeError(f"--set {text}: write KEY=VALUE, such as --set optimization.epochs=50")
    try:
        return key, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def _list() -> None:
    for name in recipe.builtin_recipes():
        print(f"{name:24}{recipe.load(name).description}")


def _report(directory: Path) -> None:
    manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    for name, metric in manifest["evaluation"].items():
        beside = "  ".join(f"{n} {v:.4g}" for n, v in metric["baselines"].items())
        print(f"{name:34}{metric['value']:<10.4g}{beside}")
    print(f"\n{directory}: written; its README.md shows the pictures. Serve it with:")
    print(f"autoencoder-service serve --models {directory.parents[1]}")


if __name__ == "__main__":
    sys.exit(main())
