"""Greedy layer-wise pretraining of a stacked autoencoder.

for each layer: samples -> the layers before it -> one-layer autoencoder, fitted -> its weights start the stack

Bengio et al., "Greedy Layer-Wise Training of Deep Networks" (NIPS 2006). With masking noise on each layer's input it is
the stacked denoising autoencoder of Vincent et al., JMLR 11 (2010), section 3.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.architectures.autoencoder import Autoencoder
from training.engine.loop import History, fit
from training.engine.step_inputs.augmentation import Augmenter
from training.recipe import Optimization, Pretraining

Inputs = Callable[[Tensor, Callable[[Tensor], Tensor]], Tensor]
"""(samples as stored, augmentation) -> the layer's inputs: float [N,in], scaled and through the layers before it."""


class OneLayer(nn.Module):
    """One layer of the stack with its mirror image: [N,in] -> [N,in]."""

    def __init__(self, encode: nn.Module, decode: nn.Module) -> None:
        super().__init__()
        self.encode, self.decode = encode, decode

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x))  # type: ignore[no-any-return]


def pretrain(
    autoencoder: Autoencoder,
    train: Tensor,
    validation: Tensor,
    pretraining: Pretraining,
    augment: Augmenter | None,
    *,
    generator: torch.Generator,
    folder: Path,
    fingerprint: str,
    minutes: float | None = None,
    log_folder: Path | None = None,
) -> list[History]:
    """Pretrain the dense layers of `autoencoder` in place, the outermost first.

    Args:
        train, validation: samples as stored, uint8 [N,H,W,C] or float64 [N,D].
        minutes: all layers together end after so many, whatever their epochs say.
        log_folder: of all layers' curves, see training.engine.curve_log.
        augment: applied to training images before the first layer.
    Returns:
        One History per layer; errors are mean squared errors of that layer's inputs.
    """
    encoder, decoder = autoencoder.encoder, autoencoder.decoder
    if not isinstance(encoder, nn.Sequential) or not isinstance(decoder, nn.Sequential):
        raise TypeError("This is a bug: recipes with pretraining have a dense architecture")
    depth = len(encoder) - 1  # the first is Flatten, as the decoder's last is Unflatten
    optimization = Optimization(
        epochs=pretraining.epochs,
        batch_size=pretraining.batch_size,
        learning_rate=pretraining.learning_rate,
        schedule="cosine",
        warmup=0.05,
    )
    histories = []
    for index in range(1, depth + 1):
        lower_layers = encoder[:index].eval()
        layer = OneLayer(encoder[index], decoder[depth - index])
        inputs = partial(_inputs, autoencoder, lower_layers)

        def objective(
            module: nn.Module, samples: Tensor, progress: float, generator: torch.Generator, inputs: Inputs = inputs
        ) -> Tensor:
            clean = inputs(samples, lambda scaled: augment(scaled, progress, generator) if augment else scaled)
            mask = torch.rand(clean.shape, generator=generator, device=clean.device) >= pretraining.masking
            return F.mse_loss(module(clean * mask), clean)

        def validate(module: nn.Module, inputs: Inputs = inputs) -> float:
            clean = inputs(validation, lambda scaled: scaled)
            return float(F.mse_loss(module(clean), clean))

        history = fit(
            layer,
            train,
            objective,
            validate,
            optimization,
            generator=generator,
            file=folder / f"layer-{index}.pt",
            fingerprint=fingerprint,
            title=f"pretraining layer {index} of {depth}",
            minutes=None if minutes is None else minutes / depth,
            log_folder=None if log_folder is None else log_folder / f"layer-{index}",
        )
        histories.append(history)
    return histories


@torch.no_grad()
def _inputs(
    autoencoder: Autoencoder, lower_layers: nn.Module, samples: Tensor, augment: Callable[[Tensor], Tensor]
) -> Tensor:
    return lower_layers(augment(autoencoder.scaling(samples)))  # type: ignore[no-any-return]
