import numpy as np

from tests.training.restoration import add_dirt, build_recipe, draw_letters
from training import train_denoiser
from training.export import graphs, quantization


def test_a_denoiser_is_quantised_as_far_as_the_loss_allows() -> None:
    recipe = build_recipe(
        "x", architecture={"type": "unet", "widths": [16, 32], "encoder_blocks": [1, 1], "decoder_blocks": [1]}
    )
    graph = graphs.export_denoiser(train_denoiser.build(recipe))
    images = [*add_dirt(draw_letters(8, 64, 64))[..., None]]
    exact = quantization.onnx_denoiser(graph)

    def difference(candidate: bytes) -> float:
        denoise = quantization.onnx_denoiser(candidate)
        return float(np.mean([np.abs(denoise(image).astype(int) - exact(image)).mean() for image in images]))

    free = quantization.quantize(graph, images, difference, 100.0)
    assert free is not None
    assert b"QuantizeLinear" in free
    assert len(free) < 0.8 * len(graph), "weights take a quarter, at this size the nodes take the rest"
    assert 0 < difference(free) < 2
    strict = quantization.quantize(graph, images, difference, difference(free) * 0.7)
    assert strict is not None
    assert difference(strict) <= difference(free) * 0.7
    assert quantization.quantize(graph, images, difference, -1.0) is None
    odd = images[0][:37, :50]
    assert quantization.onnx_denoiser(free)(odd).shape == odd.shape
