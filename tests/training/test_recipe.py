from pathlib import Path

import pytest

from tests.drawings import small_recipe
from tests.training import restoration
from training import recipe
from training.errors import RecipeError


def test_every_shipped_recipe_is_valid_and_says_in_its_header_how_to_run_it() -> None:
    shipped = recipe.builtin_recipes()
    assert {"cats-undercomplete", "cats-stacked", "cats-convolutional", "cats-denoising"} <= set(shipped)
    for name, path in shipped.items():
        assert recipe.load(name).name == name
        header = [line for line in path.read_text().splitlines() if line.startswith("#")]
        commands = f"autoencoder-train {name}", f"autoencoder-train classify {name}"
        assert any(command in line for line in header for command in commands), f"{name} has no command in its header"
        assert len(path.read_text().splitlines()) <= 70, f"{name} is longer than a page"


def test_a_file_is_read_like_a_shipped_recipe(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(recipe.builtin_recipes()["cats-undercomplete"].read_text())
    assert recipe.load(str(path)) == recipe.load("cats-undercomplete")


def test_a_dotted_change_replaces_one_line() -> None:
    changed = recipe.load("cats-undercomplete", {"optimization.epochs": 3})
    assert changed.optimization.epochs == 3
    assert changed.digest != recipe.load("cats-undercomplete").digest


def test_the_digest_ignores_words_that_decide_no_weights() -> None:
    plain = recipe.build(small_recipe("x"), {}, "x")
    assert plain.digest == recipe.with_changes(plain, {"description": "Other words.", "notes": "More."}).digest
    assert plain.digest != recipe.with_changes(plain, {"seed": 1}).digest


def test_none_removes_a_key() -> None:
    spatial = {"type": "convolutional", "latent_channels": 4}
    base = recipe.build(small_recipe("x", architecture=spatial), {}, "x")
    flat = recipe.with_changes(base, {"architecture.latent_dim": 8, "architecture.latent_channels": "none"})
    assert isinstance(flat.architecture, recipe.Convolutional)
    assert flat.architecture.latent_dim == 8


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
        ({"optimization.epochs": 0}, "optimization.epochs: Input should be greater than or equal to 1"),
        ({"kind": "denoising"}, "kind denoising needs a corruption"),
        ({"corruption": [{"kind": "gaussian", "level": [0, 1]}]}, "other kinds must not have one"),
        ({"optimization.emphasis": 1}, "optimization.emphasis needs a corruption"),
        (
            {"kind": "denoising", "corruption": [{"kind": "gaussian", "level": [0, 1], "fill": "mean"}]},
            'fill is for kind "masking"',
        ),
        ({"architecture": {"type": "convolutional"}}, "give either latent_dim (flat) or latent_channels (spatial)"),
        ({"architecture": {"type": "convolutional", "latent_dim": 4, "channels": [8]}}, "must be equally long"),
        ({"architecture": {"type": "convolutional", "latent_dim": 4}, "pretraining": {"epochs": 1}}, "for the dense"),
        ({"optimization.loss": "bce"}, 'needs output_activation "sigmoid"'),
        ({"optimization.loss": "psnr"}, 'loss "psnr" is for the unet architecture'),
        ({"quantization": {}}, "quantization is for the unet architecture"),
        ({"name.first": "x"}, "name.first is not a key of a table"),
        ({"name": "Not A Name"}, "name: String should match pattern"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_key(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(RecipeError) as refusal:
        recipe.build(small_recipe("x"), changes, "mine.toml")
    assert "mine.toml" in str(refusal.value)
    assert sentence in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "stacked"}, "unet architecture is for kind denoising"),
        ({"augmentation": {"elastic": 0.1}}, "augmentation.elastic is not for the unet"),
        ({"data.crop": 64}, "must not be larger than data.patch"),
        ({"architecture.decoder_blocks": [1, 1]}, "decoder_blocks one shorter"),
    ],
)
def test_a_wrong_recipe_of_a_denoiser_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        restoration.build_recipe("x", changes)


def test_a_missing_recipe_names_those_that_there_are() -> None:
    with pytest.raises(RecipeError, match=r"no recipe 'nope'.*cats-stacked"):
        recipe.load("nope")


def test_a_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(RecipeError, match=r"bad\.toml is not TOML"):
        recipe.load(str(tmp_path / "bad.toml"))
