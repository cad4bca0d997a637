import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.drawings import build_small_recipe
from training import recipe as recipes
from training.export import recipe_file


@pytest.mark.parametrize("name", recipes.builtin_recipes())
def test_a_recipe_written_and_read_again_is_the_same(name: str, tmp_path: Path) -> None:
    recipe = recipes.load(name)
    path = tmp_path / "recipe.toml"
    path.write_bytes(recipe_file.to_toml(recipe_file.publish(recipe)))
    assert recipes.load(str(path)) == recipe
    assert recipes.load(str(path)).digest == recipe.digest


def test_every_setting_is_in_it_defaults_too() -> None:
    document: dict[str, Any] = tomllib.loads(recipe_file.to_toml(build_small_recipe("x")).decode())
    assert document["optimization"]["clip"] == 0
    assert document["augmentation"]["flip"] is False


def test_paths_become_their_last_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "secret" / "patients"
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for source in (str(folder), "secret/patients", f"{folder}/", "secret/../secret/patients"):
        assert recipe_file.publish(build_small_recipe(source)).data.source == "patients"
    for source in ("quickdraw/cats", "nowhere/else", "drawings.npy"):
        assert recipe_file.publish(build_small_recipe(source)).data.source == source
    monkeypatch.chdir(folder)
    assert recipe_file.publish(build_small_recipe(".")).data.source == "."
    assert recipe_file.publish(build_small_recipe("..")).data.source == "secret"
