import pytest
import torch
from torch import nn

from tests.training.export.packages import IMAGES, split_dataset
from training.architectures.autoencoder import Autoencoder, PixelScaling
from training.evaluation.kind_metrics.contraction import measure_contraction


def test_the_contraction_of_a_linear_encoder_is_the_norm_of_its_weights() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(144, 7)
    autoencoder = Autoencoder(PixelScaling(), nn.Sequential(nn.Flatten(), linear), nn.Identity())
    expected = float(linear.weight.detach().square().sum())
    assert measure_contraction(autoencoder, split_dataset(IMAGES)) == pytest.approx(expected, rel=1e-5)
