import pytest
import torch
from torch import nn

from training.engine.muon import Muon, orthogonalize


def test_orthogonal_brings_all_singular_values_near_one() -> None:
    generator = torch.Generator().manual_seed(0)
    for shape in ((3, 8, 40), (2, 40, 8), (1, 16, 16)):
        matrices = torch.randn(shape, generator=generator)
        values = torch.linalg.svdvals(orthogonalize(matrices))
        assert orthogonalize(matrices).shape == shape
        assert values.min() > 0.3
        assert values.max() < 1.3


def test_a_step_is_of_adamws_size_whatever_the_gradient_is() -> None:
    for scale in (1e-4, 1.0, 1e4):
        matrix = nn.Parameter(torch.zeros(24, 96))
        matrix.grad = torch.randn(24, 96, generator=torch.Generator().manual_seed(1)) * scale
        Muon([matrix], lr=0.01).step()
        assert matrix.square().mean().sqrt().item() == pytest.approx(0.01 * 0.2, rel=0.3)


def test_it_learns_a_linear_map_and_decays_what_it_does_not_use() -> None:
    generator = torch.Generator().manual_seed(0)
    truth, x = torch.randn(6, 6, generator=generator), torch.randn(200, 6, generator=generator)
    weight, idle = nn.Parameter(torch.zeros(6, 6)), nn.Parameter(torch.ones(2, 2))
    muon = Muon([weight, idle], lr=0.2, weight_decay=0.05)
    errors = []
    for step in range(100):
        muon.param_groups[0]["lr"] = 0.2 * (1 - step / 100)
        loss = (x @ weight - x @ truth).square().mean() + 0 * idle.sum()
        muon.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        muon.step()
        errors.append(loss.item())
    assert errors[-1] < 0.05 * errors[0]
    assert 0 < idle.max() < 1


def test_only_matrices() -> None:
    with pytest.raises(ValueError, match="matrices only"):
        Muon([nn.Parameter(torch.zeros(3))], lr=0.1)
