import json
from pathlib import Path

import pytest

from tests.drawings import small_recipe
from tests.training import restoration
from training import recipe
from training.errors import RecipeError

DIGESTS = {
    "cats-contractive": "db9c71045409ec2d36b140b36a4fa23248feea5ea5b8c0964a98e22b8e1d1136",
    "cats-convolutional": "3d8962bb11f27698208679395ffd54de223c31e776f1fdab0378b3c92894d402",
    "cats-denoising": "accf10fb6b6ddd60b1264e0a2805243844ba00847119760208e0620285426acf",
    "cats-sparse": "2277f6a3c3a78088e84c128ee09933b06dcbc2cdf61e46242ec6907db8cd8414",
    "cats-stacked": "3e06c68f5414d0c63870c8ebfa3561feb9139a8576b0d2ad60642cc0137e9e3e",
    "cats-variational": "5d62157b15d6e7696ca5e8e134c3f0fb637b66cb294933a746b91d475bf22209",
    "cats-undercomplete": "ac45f8a3186f13201dd170a3c2fedd5847c581ddd5fa70521d7cd1068e10782b",
    "digits-basic": "9ac13de22a7bceed6263bd7b3436c720c79dd725a4f67a1749b8f7040d3921d1",
    "digits-bg-rand": "50b5dee8fcffb37065b0c81c754de3cddfaae7b771964f4e8fe167c03f86313b",
    "digits-contractive": "317486ef53fd93aee6b51f210e4bedb3f8e7d1d98e7e427df9dbe1e7036b046a",
    "digits-sparse": "68d57b930859a573663b33c6d3af1287c7b79f05c08542e34a29fca63002f3ee",
    "digits-deep": "121277c0c12efc7b26ea5b691c416de1becda974e597369e69529e5e053c1357",
    "digits-rot": "611ace7f9e6badb66673e247c68cbd0189c4bf1bcad1aea2810066343434048a",
    "drawings-classified": "d0bdcb2e678b01f1fa0aae564e074bd2ddf71519d1aedb7c8e509aa5ad7661eb",
    "digits-variational": "c45f69d44ac293bb54bd02098a7b53431e1de994604774e01f81a2d90caeb8c8",
    "pages-noisy-office": "941f423cf7b95f406308c54e283ad2fad128d26efa5d18f5f30275c1d5c1ac98",
    "pages": "1dc4b0d95674ab299652491a250ad4f7597789629206a728cbc5e7fcdd2e02a5",
    "photos-bsds": "3a5f7be1aba556184433cc4e5dcc35bdd6e202c966a3be4404297b9e496cf009",
    "photos": "aa81c0c8305ae15c46efb2a8e7b1fd3046cf921df39b550f92f43ce5a831d11f",
}


def test_every_shipped_recipe_is_valid_and_says_in_its_header_how_to_run_it() -> None:
    shipped = recipe.builtin_recipes()
    assert {"cats-undercomplete", "cats-stacked", "cats-convolutional", "cats-denoising"} <= set(shipped)
    for name, path in shipped.items():
        assert recipe.load(name).name == name
        header = [line for line in path.read_text().splitlines() if line.startswith("#")]
        commands = f"autoencoder-train {name}", f"autoencoder-train classify {name}"
        assert any(command in line for line in header for command in commands), f"{name} has no command in its header"
        assert len(path.read_text().splitlines()) <= 70, f"{name} is longer than a page"


EARLIER_DIGESTS: dict[str, list[str]] = {}
"""Of recipes that were changed since their package was made; an entry goes when the new package comes."""


@pytest.mark.parametrize("name", recipe.builtin_recipes())
def test_digests_of_builtin_recipes_do_not_change(name: str) -> None:
    digest = recipe.load(name).digest
    assert digest == DIGESTS[name]
    for manifest in (Path(__file__).parents[2] / "models").glob(f"{name}/*/manifest.json"):
        assert json.loads(manifest.read_text())["training"]["recipe_sha256"] in (digest, *EARLIER_DIGESTS.get(name, []))


def test_a_file_is_read_like_a_shipped_recipe(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(recipe.builtin_recipes()["cats-undercomplete"].read_text())
    assert recipe.load(str(path)) == recipe.load("cats-undercomplete")


def test_a_dotted_change_replaces_one_line() -> None:
    modified = recipe.load("cats-undercomplete", {"optimization.epochs": 3})
    assert modified.optimization.epochs == 3
    assert modified.digest != recipe.load("cats-undercomplete").digest


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
        ({"data.noisy": "x"}, "data.noisy is for the unet architecture"),
        ({"augmentation": {"grey": 0.5}}, "augmentation.grey is for the unet architecture"),
        ({"architecture.type": "transformer"}, "it must be one of dense, convolutional, unet"),
        ({"architecture": {"latent_dim": 4}}, "architecture: Unable to extract tag"),
        ({"weights": "float16", "architecture.tied": True}, "for the dense architecture without tied weights"),
        ({"corruption": [{"kind": "rain", "level": [0, 1]}]}, "corruption.0.kind: Input should be 'gaussian'"),
        ({"kind": "variational", "architecture.tied": True}, "kind variational needs a flat latent"),
        (
            {"kind": "variational", "architecture": {"type": "convolutional", "latent_channels": 2}},
            "kind variational needs a flat latent",
        ),
        ({"kind": "variational", "architecture.latent_activation": "relu"}, 'needs latent_activation "linear"'),
        ({"kind": "variational", "pretraining": {"epochs": 1}}, "kind variational is not pretrained"),
        ({"kind": "variational", "architecture.output_activation": "sigmoid"}, 'needs output_activation "linear"'),
        ({"kind": "variational", "variational": {"binarize": True}}, 'variational.binarize needs loss "bce"'),
        ({"kind": "variational", "variational": {"importance_samples": 9}}, "importance_samples needs binarize"),
        ({"variational": {"beta": 4}}, "section variational is for kind variational"),
        ({"sparsity": {"active": 4}}, "section sparsity is for kind sparse"),
        ({"kind": "sparse"}, "kind sparse is one dense layer each way"),
        ({"kind": "sparse", "architecture": {"type": "convolutional", "latent_dim": 64}}, "one dense layer each way"),
        ({"kind": "sparse", "architecture.hidden": [], "sparsity": {"active": 6}}, "must be less than the 6 features"),
        (
            {"kind": "sparse", "architecture.hidden": [], "sparsity": {"active": 2}, "pretraining": {"epochs": 1}},
            'kind sparse needs loss "mse", and no pretraining',
        ),
        ({"optimization.contraction": 0.1}, "optimization.contraction needs the dense architecture with tied = true"),
        (
            {"optimization.contraction": 0.1, "architecture.tied": True, "architecture.batch_norm": True},
            "without batch norm",
        ),
        ({"name.first": "x"}, "name.first is not a key of a table"),
        ({"name": "Not A Name"}, "'Not A Name' is no name of a model, which is 2 to 64 of a-z, 0-9 and -"),
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
        ({"optimization.contraction": 1}, "optimization.contraction is not for the unet"),
        ({"augmentation": {"elastic": 0.1}}, "augmentation.elastic is not for the unet"),
        ({"data.label_column": 1}, "data.label_column is not for the unet"),
        ({"classification": {"optimization": {"epochs": 1}}}, "classification is not for the unet .* no latent"),
        ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
        ({"optimization.emphasis": 1}, "optimization.emphasis is not for the unet"),
        ({"optimization.loss": "bce"}, 'loss "bce" needs output_activation "sigmoid"'),
        (
            {"corruption": [{"kind": "masking", "level": [0, 1], "fill": "mean"}]},
            'corruption.fill "mean" is not for the unet',
        ),
        ({"data.crop": 64}, "must not be larger than data.patch"),
        ({"architecture.decoder_blocks": [1, 1]}, "decoder_blocks one shorter"),
    ],
)
def test_a_wrong_recipe_of_a_denoiser_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        restoration.build_recipe("x", changes)


def test_the_type_of_the_architecture_decides_the_schema() -> None:
    assert isinstance(recipe.load("photos"), recipe.DenoiserRecipe)
    assert recipe.load_autoencoder("cats-stacked") == recipe.load("cats-stacked")
    with pytest.raises(RecipeError, match="photos is of the unet architecture, which has no latent"):
        recipe.load_autoencoder("photos")


def test_a_missing_recipe_names_those_that_there_are() -> None:
    with pytest.raises(RecipeError, match=r"no recipe 'nope'.*cats-stacked"):
        recipe.load("nope")


def test_a_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(RecipeError, match=r"bad\.toml is not TOML"):
        recipe.load(str(tmp_path / "bad.toml"))
