"""Variational autoencoder: the encoder answers a distribution, and draws from the prior decode to new samples.

scaled -> encoder -> mean, log variance -> mean + deviation * noise -> decoder -> logits or values

Kingma and Welling, "Auto-Encoding Variational Bayes" (ICLR 2014). The prior of each number of the latent is the
standard normal distribution. The package has the mean as its latent; the variance serves training and evaluation only.
"""

import torch
from torch import Tensor, nn

from training.architectures.autoencoder import Autoencoder, PixelScaling
from training.architectures.standardization import Standardization

LOG_VARIANCES = (-12.0, 8.0)  # ends of the range, so that no step overflows


class Variational(Autoencoder):
    """An autoencoder whose encoder, without its last layer, is followed by a second head: the log variance.

    Args:
        encoder: its last module is the linear head of the mean, [N,features] -> [N,latent].
        decoder: [N,latent] -> logits of pixels if `is_bernoulli`, else values as `forward` answers them.
    """

    def __init__(
        self,
        scaling: PixelScaling | Standardization,
        encoder: nn.Sequential,
        decoder: nn.Module,
        *,
        is_bernoulli: bool,
    ) -> None:
        super().__init__(scaling, encoder, decoder)
        mean = next(layer for layer in encoder[-1].modules() if isinstance(layer, nn.Linear))
        self.log_variance = nn.Linear(mean.in_features, mean.out_features)
        self.is_bernoulli = is_bernoulli

    def forward(self, scaled: Tensor) -> Tensor:
        """The reconstruction from the mean: probabilities or values, float [N,...]."""
        return self.activate(self.decoder(self.encoder(scaled)))

    def decode(self, latent: Tensor) -> Tensor:
        return self.scaling.inverse(self.activate(self.decoder(latent)))

    def activate(self, output: Tensor) -> Tensor:
        """The decoder's output as probabilities or values."""
        return output.sigmoid() if self.is_bernoulli else output

    def infer(self, scaled: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the posterior, float32 [N,latent] each."""
        if not isinstance(self.encoder, nn.Sequential):
            raise TypeError("This is a bug: the encoder ends in the head of the mean")
        features = self.encoder[:-1](scaled)
        return self.encoder[-1](features).float(), self.log_variance(features).float().clamp(*LOG_VARIANCES)


class Draw(nn.Module):
    """What training runs: one tensor in, one out, so that several processes can share a batch.

    [N,D+L]: flat samples, noise -> [N,D+2L]: flat output of the decoder, mean, log variance; float32.
    """

    def __init__(self, autoencoder: Variational, sample_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.autoencoder, self.sample_shape = autoencoder, sample_shape

    def forward(self, packed: Tensor) -> Tensor:
        latent_size = self.autoencoder.log_variance.out_features
        scaled = packed[:, :-latent_size].reshape(-1, *self.sample_shape)
        mean, log_variance = self.autoencoder.infer(scaled)
        latent = mean + (0.5 * log_variance).exp() * packed[:, -latent_size:]
        return torch.cat([self.autoencoder.decoder(latent).float().flatten(1), mean, log_variance], 1)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the posterior from the prior, in nats, for each number: [N,latent]."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
