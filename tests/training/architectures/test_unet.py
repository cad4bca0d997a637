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


def silence(block: Block, channels: list[int]) -> Block:
    with torch.no_grad():
        block.inner.bias[channels] = -100
    return block


def test_a_silent_channel_comes_back_where_that_lowers_the_error() -> None:
    torch.manual_seed(0)
    block = silence(Block(8), list(range(8)))
    torch.nn.init.constant_(block.outer.weight, 0.1)
    images = torch.rand(4, 8, 12, 12)
    assert torch.equal(block.train()(images), block.eval()(images)), "only the gradient differs"
    (block.train()(images) - images - 1).square().mean().backward()
    assert block.inner.bias.grad is not None
    assert (block.inner.bias.grad < 0).all(), "a step against it raises the biases: more is wanted"


@pytest.mark.parametrize("silent", [[], [1], [0, 3], [0, 1, 2, 3]])
def test_all_gradients_but_those_of_biases_of_silent_channels_are_exact(silent: list[int]) -> None:
    torch.manual_seed(0)
    block = silence(Block(4), silent)
    with torch.no_grad():
        block.outer.weight.mul_(1000)  # as large weights as long runs have made
    images = torch.randn(3, 4, 9, 9, requires_grad=True)

    def gradients(*, is_training: bool) -> dict[str, torch.Tensor]:
        block.train(is_training)
        named = {"images": images, **dict(block.named_parameters())}
        values = torch.autograd.grad(block(images).square().sum(), list(named.values()))
        return dict(zip(named, values, strict=True))

    found, exact = gradients(is_training=True), gradients(is_training=False)
    others = [channel for channel in range(4) if channel not in silent]
    for name, value in found.items():
        chosen = others if name == "inner.bias" else slice(None)
        torch.testing.assert_close(value[chosen], exact[name][chosen], msg=name)
    assert bool((found["inner.bias"][silent] != 0).all())
    assert not exact["inner.bias"][silent].any()


def test_silent_channels_are_drawn_anew_without_a_change_of_the_output() -> None:
    denoiser = built(SHAPES[1])
    first, _, third, _ = (module for module in denoiser.modules() if isinstance(module, Block))
    silence(first, [2, 5])
    silence(third, list(range(8)))
    images = torch.rand(6, 1, 32, 32)
    before = denoiser(images).detach()
    assert denoiser.revive(images) >= 10
    torch.testing.assert_close(denoiser(images), before)
    assert denoiser.revive(images) == 0
    denoiser.train()(images).square().mean().backward()
    for block in (first, third):
        assert block.outer.weight.grad is not None
        assert block.outer.weight.grad.view(block.outer.shape).abs().amax((0, 2, 3)).min() > 0, "they learn"
