"""The module of a recipe's kind: plain, variational or sparse.

recipe, train split -> build -> Autoencoder | Variational | Sparse
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.architectures import autoencoder as autoencoders
from training.architectures.autoencoder import Autoencoder
from training.architectures.sparse import Sparse
from training.architectures.variational import Variational
from training.errors import RecipeError
from training.recipe import AutoencoderRecipe, Dense


def build(recipe: AutoencoderRecipe, train: NDArray[np.uint8] | NDArray[np.float64]) -> Autoencoder:
    """An untrained autoencoder of the recipe's kind for samples like `train`, as stored.

    Weights are drawn from torch's global generator. RecipeError if the recipe makes numbers of vectors 0 or 1.
    """
    architecture = recipe.architecture
    if recipe.kind == "sparse" and isinstance(architecture, Dense):
        scaling = autoencoders.build_scaling(train)
        mean = torch.cat([scaling(batch).sum(0, keepdim=True) for batch in torch.split(torch.from_numpy(train), 1024)])
        sparsity = recipe.sparsity
        return Sparse(scaling, mean.sum(0) / len(train), architecture.latent_dim, sparsity.active, sparsity.dead_after)
    if recipe.kind != "variational":
        return autoencoders.build(architecture, train)
    if recipe.variational.binarize and train.ndim == 2:
        raise RecipeError("variational.binarize is for images: numbers of vectors are no probabilities")
    is_bernoulli = recipe.optimization.loss == "bce" and train.ndim == 4  # standardised vectors are no probabilities
    plain = autoencoders.build(architecture.model_copy(update={"output_activation": "linear"}), train)
    if not isinstance(plain.encoder, nn.Sequential):
        raise TypeError("This is a bug: encoders are sequences of layers")
    return Variational(plain.scaling, plain.encoder, plain.decoder, is_bernoulli=is_bernoulli)
