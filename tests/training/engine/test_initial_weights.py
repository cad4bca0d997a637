"""Initial weights from packages and checkpoints."""

from pathlib import Path

import pytest
import torch

from training import recipe as recipes
from training import train_denoiser
from training.engine import checkpoint
from training.engine.initial_weights import load_initial_weights
from training.errors import TrainingError

ROOT = Path(__file__).parents[3]


def photos(**changes: object) -> torch.nn.Module:
    recipe = recipes.load("photos", {f"architecture.{key}": value for key, value in changes.items()})
    assert isinstance(recipe, recipes.DenoiserRecipe)
    return train_denoiser.build(recipe).eval()


def test_a_module_with_a_packages_weights_answers_as_the_package() -> None:
    from service.model.package import newest_directory, read
    from service.model.runtime import Model

    module = photos()
    load_initial_weights(module, ROOT / "models" / "photos")
    directory = newest_directory(ROOT / "models" / "photos")
    assert directory is not None
    image = torch.randint(0, 256, (1, 32, 48, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.inference_mode():
        output = (module(image.permute(0, 3, 1, 2).float() / 255).clamp(0, 1) * 255).round()
    served = torch.from_numpy(Model(read(directory), "cpu", precision="fp32").denoise(image.numpy()))
    assert (output.permute(0, 2, 3, 1) - served).abs().max() <= 1


def test_weights_for_grey_do_the_same_with_grey_pages_in_colour_and_correct_all_channels_alike(tmp_path: Path) -> None:
    recipe = recipes.load("pages")
    assert isinstance(recipe, recipes.DenoiserRecipe)
    grey_recipe = recipes.with_changes(recipe, {"architecture.channels": 1})
    colour, grey = train_denoiser.build(recipe).eval(), train_denoiser.build(grey_recipe).eval()
    checkpoint.save(tmp_path / "grey.pt", {"fingerprint": "f", "best": grey.state_dict()})
    load_initial_weights(colour, tmp_path / "grey.pt")
    page = torch.rand(1, 1, 32, 48, generator=torch.Generator().manual_seed(0))
    tint = torch.tensor([1.0, 0.9, 0.7])[None, :, None, None]
    with torch.inference_mode():
        cleaned = colour(page.expand(-1, 3, -1, -1))
        torch.testing.assert_close(cleaned, grey(page).expand(-1, 3, -1, -1), atol=1e-4, rtol=0)
        correction = colour(page * tint) - page * tint
    torch.testing.assert_close(correction, correction[:, :1].expand(-1, 3, -1, -1), atol=1e-6, rtol=0)


def test_a_checkpoint_gives_its_best_weights(tmp_path: Path) -> None:
    trained, module = photos(), photos()
    for parameter in trained.parameters():
        torch.nn.init.normal_(parameter, std=0.01)
    checkpoint.save(tmp_path / "checkpoint.pt", {"fingerprint": "f", "best": trained.state_dict()})
    load_initial_weights(module, tmp_path / "checkpoint.pt")
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, trained.state_dict()[name])


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("models/cats-stacked", "has no graph of a denoiser"),
        ("models/pages", "is of another architecture: first.weight"),
        ("models/none", "is not a package to start from"),
        ("README.md", "is not a checkpoint of a training run"),
    ],
)
def test_what_cannot_be_started_from_is_one_sentence(source: str, words: str) -> None:
    with pytest.raises(TrainingError, match=words) as refusal:
        load_initial_weights(photos(), ROOT / source)
    assert "\n" not in str(refusal.value)
