"""Evaluation of contraction: how far a latent moves when its sample does.

encoder, test samples -> squared Frobenius norm of the Jacobian, exactly
"""

import torch

from training.architectures.autoencoder import Autoencoder
from training.data.datasets import Dataset

SAMPLES = 500  # of the test split: each number of the latent is one pass backwards


def measure_contraction(autoencoder: Autoencoder, data: Dataset) -> float:
    """Squared Frobenius norm of the encoder's Jacobian, mean over up to SAMPLES test samples.

    Rifai et al., "Contractive Auto-Encoders" (ICML 2011), equation 4; inputs are scaled.
    """
    samples = autoencoder.scaling(torch.from_numpy(data.test[:SAMPLES])).detach().requires_grad_()
    total = torch.zeros(len(samples))
    latents = autoencoder.encoder(samples).flatten(1)
    for index in range(latents.shape[1]):
        (gradient,) = torch.autograd.grad(latents[:, index].sum(), samples, retain_graph=True)
        total += gradient.square().flatten(1).sum(1)
    return float(total.mean())
