"""Small data and recipes for denoisers of any size."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.training import fonts as faces
from training import recipe
from training.data import patches
from training.recipe import DenoiserRecipe
from training.synthetic_pages.writing.fonts import FontBook


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


def prepare_pages(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small corpus like NoisyOffice and small pools of drawn pages, all in `folder`; without photographs."""
    office = folder / "data" / "noisy-office"
    (office / "train").mkdir(parents=True)
    (office / "train_cleaned").mkdir()
    rows = ["id,folder,split,noise"]
    for n, image in enumerate(draw_letters(12, 80, 90)):
        rows.append(f"{n},train,{('train', 'val', 'test')[n % 3]},{('coffee', 'wrinkled')[n % 2]}")
        cv2.imwrite(str(office / "train_cleaned" / f"{n}.png"), image)
        cv2.imwrite(str(office / "train" / f"{n}.png"), add_dirt(image[None])[0])
    (office / "index.csv").write_text("\n".join(rows))
    monkeypatch.setenv("AUTOENCODER_DATA", str(folder / "data"))
    monkeypatch.setenv("AUTOENCODER_CACHE", str(folder / "cache"))
    monkeypatch.setattr(patches, "PAGE_COUNTS", {"pages/mixed": 8, "pages/noisy-office": 6})
    monkeypatch.setattr(patches, "SCENES", 2)
    monkeypatch.setattr(patches, "SCENE_SIZE", 80)
    monkeypatch.setattr(patches, "POOL_PAGES", {"train": 3, "validation": 2, "test": 2})
    monkeypatch.setattr(patches, "_load_pictures", lambda **_: [])
    book = faces.book()
    monkeypatch.setattr(FontBook, "installed", lambda *_: book)


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
