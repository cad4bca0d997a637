import pytest
import torch

from training.architectures.unet import Block, Denoiser
from training.recipe import Unet

SHAPES = [
    Unet(widths=(8,), encoder_blocks=(1,), decoder_blocks=()),
    Unet(widths=(8, 12), encoder_blocks=(1, 2), decoder_blocks=(1,)),
    Unet(widths=(8, 12), encoder_blocks=(0, 1), decoder_blocks=(0,), context=5),
    Unet(widths=(8, 12), encoder_blocks=(1, 1), decoder_blocks=(1,), unshuffle=1),
    Unet(widths=(8, 8, 8), encoder_blocks=(1, 0, 1), decoder_blocks=(0, 1), channels=3),
    Unet(widths=(8, 8, 8), encoder_blocks=(1, 0, 1), decoder_blocks=(0, 1), context=5, context_level=1),
]


def built(recipe: Unet) -> Denoiser:
    torch.manual_seed(0)
    denoiser = Denoiser(recipe).eval()
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.2)  # far from the identity, so that every reach shows
    return denoiser


@pytest.mark.parametrize(
    "recipe", SHAPES, ids=["one level", "two levels", "context", "full size", "three levels, colour", "context above"]
)
def test_an_output_pixel_sees_no_farther_than_the_halo(recipe: Unet) -> None:
    denoiser = built(recipe).double()
    size = 2 * denoiser.halo + 4 * denoiser.stride
    image = torch.rand(1, recipe.channels, size, size, dtype=torch.float64, requires_grad=True)
    reached = 0
    for offset in range(denoiser.stride):  # wherever a pixel stands within its stride
        middle = size // 2 // denoiser.stride * denoiser.stride + offset
        (gradient,) = torch.autograd.grad(denoiser(image)[0, 0, middle, middle], image)
        rows, columns = gradient[0].abs().sum(0).nonzero().T
        reached = max(reached, *((places - middle).abs().max().item() for places in (rows, columns)))
    assert reached <= denoiser.halo
    assert reached > denoiser.halo - 2 * denoiser.stride, "and no larger than it must be"


@pytest.mark.parametrize(
    "recipe", SHAPES, ids=["one level", "two levels", "context", "full size", "three levels, colour", "context above"]
)
def test_the_port_keeps_shape_and_dtype_and_starts_near_the_identity(recipe: Unet) -> None:
    torch.manual_seed(0)
    denoiser = Denoiser(recipe)
    height, width = 3 * denoiser.stride, 5 * denoiser.stride
    image = torch.randint(0, 256, (2, height, width, recipe.channels), dtype=torch.uint8)
    with torch.inference_mode():
        denoised = denoiser.denoise(image)
    assert denoised.dtype == torch.uint8
    assert denoised.shape == image.shape
    assert (denoised.int() - image.int()).abs().float().mean() < 60


def test_a_block_that_gives_nothing_still_gets_a_gradient() -> None:
    torch.manual_seed(0)
    block = Block(8)
    torch.nn.init.constant_(block.inner.bias, -20)  # every ReLU is off
    images = torch.rand(4, 8, 12, 12)
    assert torch.equal(block.train()(images), block.eval()(images)), "only the gradient differs"
    (block.train()(images) - images - 1).square().mean().backward()
    gradient = block.inner.weight.grad
    assert gradient is not None
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("silent", [[], [1], [0, 3]])
def test_the_gradient_of_channels_that_give_something_is_exact(silent: list[int]) -> None:
    torch.manual_seed(0)
    block = Block(4)
    with torch.no_grad():
        block.inner.bias[silent] = -100
    images = torch.randn(3, 4, 9, 9)

    def gradients(*, is_training: bool) -> tuple[torch.Tensor, torch.Tensor]:
        block.train(is_training).zero_grad()
        block(images).square().sum().backward()
        assert block.inner.weight.grad is not None
        assert block.outer.weight.grad is not None
        return block.inner.weight.grad.clone(), block.outer.weight.grad.clone()

    inner, outer = gradients(is_training=True)
    inner_exact, outer_exact = gradients(is_training=False)
    others = [channel for channel in range(4) if channel not in silent]
    torch.testing.assert_close(inner[others], inner_exact[others])
    torch.testing.assert_close(outer, outer_exact)
    assert bool((inner[silent].abs().amax(1) > 0).all())
    assert not inner_exact[silent].any()
