"""The graph for 8-bit integers is the same function as the one that it was written from."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from training.architectures.unet import Denoiser
from training.export.graphs import export_denoiser
from training.export.int8.rewriting import rewrite_for_int8
from training.recipe import Unet


@pytest.mark.parametrize(
    ("recipe", "shuffles"),
    [
        (Unet(channels=1, unshuffle=1, widths=[8, 12, 9], encoder_blocks=[1] * 3, decoder_blocks=[1, 1], context=5), 2),
        (Unet(channels=3, unshuffle=1, widths=[8, 12], encoder_blocks=[1, 1], decoder_blocks=[1]), 1),
        (Unet(channels=1, unshuffle=2, widths=[8, 12], encoder_blocks=[1, 1], decoder_blocks=[1], context=3), 1),
        (Unet(channels=3, unshuffle=2, widths=[8, 12], encoder_blocks=[1, 1], decoder_blocks=[1]), 1),
    ],
)  # fmt: skip
def test_it_is_the_same_function(recipe: Unet, shuffles: int) -> None:
    torch.manual_seed(0)
    denoiser = Denoiser(recipe)
    for parameter in denoiser.parameters():
        nn.init.normal_(parameter, std=0.2)  # biases too, and a last layer that does something
    graph = export_denoiser(denoiser)
    rewritten = rewrite_for_int8(graph)
    image = np.random.default_rng(0).integers(0, 256, (2, 24, 40, recipe.channels), np.uint8)
    output, int8_output = (
        onnxruntime.InferenceSession(g, providers=["CPUExecutionProvider"]).run(None, {"image": image})[0]
        for g in (graph, rewritten)
    )
    assert np.abs(output.astype(int) - image).max() > 20, "it does something"
    assert np.abs(output.astype(int) - int8_output).max() <= 1, "another order of sums"
    assert (output == int8_output).mean() > 0.99

    def count(data: bytes) -> int:
        enlargings = [n for n in onnx.load_model_from_string(data).graph.node if n.op_type == "DepthToSpace"]
        return sum(not n.name.endswith("_woven") for n in enlargings)

    assert count(graph) - count(rewritten) == shuffles, "pixel shuffles that are now channels-last"
    kernels = [
        list(onnx.helper.get_attribute_value(a))
        for n in onnx.load_model_from_string(rewritten).graph.node
        for a in n.attribute
        if n.op_type == "MaxPool" and a.name == "kernel_shape"
    ]
    assert kernels == ([[recipe.context, 1], [1, recipe.context]] if recipe.context else [])
