"""Two noisy versions of one noisy picture: same scene, independent noise, so squared error leads to the clean one."""

import numpy as np
import pytest
import torch
from torch import nn

from training.engine.losses import negative_psnr
from training.engine.step_inputs import self_supervision
from training.engine.step_inputs.noise_model import CURVE, REACH, NoiseModel
from training.engine.step_inputs.self_supervision import SelfSupervision, choose_neighbours, take_pixels
from training.recipe import SelfSupervision as Method

METHODS: tuple[Method, ...] = ("neighbor2neighbor", "recorrupted", "refined")


def white(deviation: float = 0.1) -> NoiseModel:
    covariance = np.zeros((1, 1, 2 * REACH + 1, 2 * REACH + 1))
    covariance[0, 0, REACH, REACH] = 1
    return NoiseModel(np.full((1, CURVE), deviation), covariance, deviation)


def test_neighbours_are_different_pixels_of_a_cell_that_share_a_side() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = choose_neighbours(torch.zeros(4, 3, 40, 60), generator)
    assert first.shape == (4, 1, 20, 30)
    rows, columns = (first // 2 - second // 2).abs(), (first % 2 - second % 2).abs()
    assert (rows + columns == 1).all()
    assert set(first.flatten().tolist()) == {0, 1, 2, 3}
    places = torch.arange(24.0).view(1, 1, 4, 6)
    assert take_pixels(places, torch.full((1, 1, 2, 3), 3)).flatten().tolist() == [7, 9, 11, 19, 21, 23]


def test_recorrupted_versions_have_independent_noise_where_the_estimate_is_right() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = 0.1 * torch.randn(8, 3, 96, 96, generator=generator)[:, :1].expand(-1, 3, -1, -1)
    shown, target = self_supervision.recorrupt(0.5 + noise, white(), generator)
    first, second = shown - 0.5, target - 0.5
    assert abs(float((first * second).mean() / first.std() / second.std())) < 0.02
    assert float(first.std()) == pytest.approx(0.1 * 1.25**0.5, rel=0.03)
    weak, strong = (self_supervision.recorrupt(0.5 + noise, white(deviation), generator) for deviation in (0.03, 0.3))
    products = [float(((a - 0.5) * (b - 0.5)).mean()) for a, b in (weak, strong)]
    assert products[0] > 0.005, "noise that is taken for weaker than it is stays in the target"
    assert products[1] < -0.005


@pytest.mark.parametrize("method", METHODS)
def test_a_step_lowers_the_loss_and_leaves_the_teacher_alone(method: Method) -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(3, 3, 3, padding=1)
    supervision = SelfSupervision.create(method, white(), module)
    before = [p.clone() for teacher in supervision.teacher for p in teacher.parameters()]
    optimizer = torch.optim.Adam(module.parameters(), 0.02)
    noisy = 0.5 + 0.1 * torch.randn(4, 3, 32, 32)
    losses = []
    for step in range(30):
        outcome = supervision.step(module, noisy, negative_psnr, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        outcome.loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(outcome.error))
    assert losses[-1] < losses[0]
    assert all(
        torch.equal(a, b) for a, b in zip(before, (p for t in supervision.teacher for p in t.parameters()), strict=True)
    )


def test_versions_to_measure_by_are_the_same_for_one_seed_and_tell_a_good_answer_from_a_bad_one() -> None:
    rng = np.random.default_rng(0)
    noisy = np.asarray(0.5 + 0.1 * np.repeat(rng.standard_normal((64, 64, 1)), 3, 2), np.float32)
    for method in METHODS[:2]:
        supervision = SelfSupervision.create(method, white(), nn.Identity())
        shown, target = supervision.draw_versions(noisy, 3)
        again, _ = supervision.draw_versions(noisy, 3)
        assert (shown == again).all()
        assert np.mean((target - 0.5) ** 2) < np.mean((target - shown) ** 2), "the clean picture beats the noisy one"
