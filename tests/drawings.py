"""Small drawings made on the spot: white strokes on black, like the real ones, without any data set."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from training import recipe
from training.recipe import AutoencoderRecipe


def drawings(count: int, size: int = 12, seed: int = 0) -> NDArray[np.uint8]:
    """uint8 [count, size, size]: two random strokes each, all different."""
    generator = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        image = Image.new("L", (size * 4, size * 4))
        draw = ImageDraw.Draw(image)
        for _ in range(2):
            draw.line([tuple(p) for p in generator.integers(0, size * 4, (3, 2)).tolist()], fill=255, width=5)
        images.append(np.asarray(image.resize((size, size), Image.Resampling.BOX)))
    return np.stack(images)


def waves(count: int, length: int = 30, seed: int = 0) -> NDArray[np.float64]:
    """float64 [count, length]: sine waves of random phase and height around 5."""
    generator = np.random.default_rng(seed)
    phase, height = generator.uniform(0, 6.28, (count, 1)), generator.uniform(1, 3, (count, 1))
    return (5 + height * np.sin(np.linspace(0, 6.28, length) + phase)).astype(np.float32).astype(np.float64)


def build_small_recipe(
    source: Path | str, changes: Mapping[str, Any] | None = None, **sections: Any
) -> AutoencoderRecipe:
    """`small_recipe`, validated; `changes`: dotted key -> value."""
    built = recipe.build(small_recipe(source, **sections), changes or {}, "small")
    assert isinstance(built, AutoencoderRecipe)
    return built


def small_recipe(source: Path | str, **changes: Any) -> dict[str, Any]:
    """A recipe document that trains in a second; top-level keys can be replaced."""
    return {
        "name": "small",
        "kind": "undercomplete",
        "description": "A small one, for tests.",
        "data": {"source": str(source), "licence": "drawn by the tests"},
        "architecture": {"type": "dense", "hidden": [32], "latent_dim": 6},
        "optimization": {"epochs": 4, "batch_size": 32, "learning_rate": 3e-3},
        **changes,
    }
