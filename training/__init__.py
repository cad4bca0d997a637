"""Offline training: a recipe and data in, a model package out. The only place that imports torch.

recipe.toml -> recipe -> datasets -> architectures -> [pretraining] -> loop -> evaluation -> export -> models/
"""

__version__ = "0.1.0"
