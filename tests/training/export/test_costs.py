import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.drawings import drawings
from training.architectures.autoencoder import build
from training.export.costs import count_costs
from training.export.graphs import export_autoencoder
from training.recipe import Convolutional, Dense


@pytest.mark.parametrize(
    "architecture",
    [
        Dense(latent_dim=4, hidden=(16,), tied=True, batch_norm=True),
        Convolutional(latent_channels=2, channels=(4, 8)),
        Convolutional(latent_dim=6, channels=(4, 8), hidden=8),
    ],
    ids=["dense", "spatial latent", "flat latent"],
)
def test_multiply_adds_are_those_that_torch_counts(architecture: Dense | Convolutional) -> None:
    images = drawings(4)[..., None]
    autoencoder = build(architecture, images).eval()
    graphs = export_autoencoder(autoencoder, images).values()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        autoencoder.decode(autoencoder.encode(torch.from_numpy(images[:1])))
    cost = count_costs(graphs)
    assert cost.multiply_adds == counter.get_total_flops() // 2
    assert cost.bytes == sum(map(len, graphs))
