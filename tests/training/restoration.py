"""Small data and recipes for denoisers of any size."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from training import recipe
from training.recipe import DenoiserRecipe


def draw_letters(count: int, height: int = 48, width: int = 56) -> np.ndarray:
    """Clean pages of a few strokes, uint8 [N,H,W]."""
    rng = np.random.default_rng(0)
    images = np.full((count, height, width), 255, np.uint8)
    for image in images:
        for _ in range(4):
            x, y = (int(n) for n in rng.integers(4, 40, 2))
            cv2.putText(image, chr(int(rng.integers(97, 123))), (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 0, 1)
    return images


def add_dirt(clean: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.clip(clean * rng.uniform(0.5, 1, (len(clean), 1, 1)) + rng.normal(0, 20, clean.shape), 0, 255).astype(
        np.uint8
    )


def write_photographs(folder: Path, count: int, channels: int = 3) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(3)
    for n in range(count):
        coarse = rng.integers(0, 256, (5, 6, channels), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{n:03}.png"), cv2.resize(coarse, (50, 44), interpolation=cv2.INTER_CUBIC))
    return folder


def recipe_document(source: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": "small",
        "kind": "denoising",
        "description": "Small.",
        "data": {"source": source, "licence": "ours", "patch": 32, "crop": 32},
        "architecture": {"type": "unet", "widths": [8, 12], "encoder_blocks": [0, 1], "decoder_blocks": [1]},
        "optimization": {"optimizer": "muon", "epochs": 12, "batch_size": 8, "learning_rate": 0.01, "loss": "l1"},
        **changes,
    }


def build_recipe(source: str, changes: dict[str, Any] | None = None, **sections: Any) -> DenoiserRecipe:
    built = recipe.build(recipe_document(source, **sections), changes or {}, "small")
    assert isinstance(built, DenoiserRecipe)
    return built
