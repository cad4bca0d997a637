"""Recipe of a package, as a file in it: the whole of what made the weights, without paths of the trainer's machine.

recipe -> publish (paths -> their last names) -> to_toml -> recipe.toml; `autoencoder-train recipe.toml` makes it again
"""

from pathlib import Path

import tomli_w

from training.recipe import Recipe, with_changes

NAME = "recipe.toml"
PATH_KEYS = ("source", "noisy", "validation", "test")  # of the section [data]


def publish(recipe: Recipe) -> Recipe:
    """The recipe with the last name of each path in place of the path; names of published sets stay."""
    changes = {
        f"data.{key}": Path(value).resolve().name
        for key, value in paths(recipe).items()
        if Path(value).is_absolute() or len(Path(value).parts) > 1 or value == ".."
    }
    return with_changes(recipe, changes) if changes else recipe


def paths(recipe: Recipe) -> dict[str, str]:
    """Keys of the section [data] that name files or folders that are here -> their values."""
    values = {key: getattr(recipe.data, key, None) for key in PATH_KEYS}
    return {key: value for key, value in values.items() if value and Path(value).exists()}


def to_toml(recipe: Recipe) -> bytes:
    """The recipe as TOML, defaults included; training.recipe.load reads it."""
    header = f"# {recipe.name}: the recipe of this package, every setting of it.\n\n"
    return (header + tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True))).encode()
