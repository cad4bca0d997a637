"""Fine-tuning: the settings of a run that starts from a package's weights and learns from own pictures.

recipe, changes that the user made -> choose_settings -> the recipe's changes: a few hundred careful steps

The rate is a quarter of that from random weights, rises over the first steps, and falls to 0 at the end, so the first
steps do not undo what the start knows (validation on noisy pictures of other devices: docs/decisions.md).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

SETTINGS: dict[str, Any] = {
    "optimization.schedule": "cosine",
    "optimization.warmup": 0.05,
    "optimization.learning_rate": 1.5e-4,
    "optimization.adamw_learning_rate": 1.5e-4,
    "optimization.weight_decay": 0,
    "optimization.ema": 0.98,
    "optimization.epochs": 8,
    "optimization.steps_per_epoch": 40,
}
START_MARGIN = 0.0  # share of the validation error by which an epoch must be better than the start


def choose_settings(changes: Mapping[str, Any], recipe: str, start: Path, data: Path) -> dict[str, Any]:
    """Dotted keys of a recipe and their values; what the user changed stays as it is."""
    words = {
        "notes": "",
        "description": f"{recipe}, trained further on {data.name or 'own pictures'}, from the weights of {start.name}.",
    }
    return {**words, **SETTINGS, **changes}
