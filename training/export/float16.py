"""Weights in float16: large matrices of a package take half the bytes; all arithmetic stays in float32.

autoencoder -> batch norm folded in, weights rounded -> evaluated -> exported -> float16 initializers, Cast to float32

The service's runtime folds the casts when it opens the graph, so inference is as fast as before.
"""

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn
from torch.nn.utils.fusion import fuse_linear_bn_eval

from training.architectures.autoencoder import Autoencoder, DenseLayer

MIN_NUMBERS = 1024  # in a tensor; smaller ones stay as they are


@torch.no_grad()
def round_to_float16(autoencoder: Autoencoder) -> None:
    """Round every large parameter (float32) of a dense autoencoder to the nearest value of float16, in place.

    Batch norm is folded into the weights first; otherwise the exporter would do it after rounding.
    """
    autoencoder.eval()
    for layer in autoencoder.modules():
        if isinstance(layer, DenseLayer) and isinstance(norm := layer[1], nn.BatchNorm1d):
            if not isinstance(linear := layer[0], nn.Linear):
                raise TypeError("This is a bug: recipes in float16 have no tied weights")
            layer[0] = fuse_linear_bn_eval(linear, norm)
            del layer[1]
    for parameter in autoencoder.parameters():
        if parameter.numel() >= MIN_NUMBERS:
            parameter.copy_(parameter.half().float())


def store_as_float16(graph: bytes) -> bytes:
    """The ONNX graph with its large float32 initializers as float16, each with a Cast to float32.

    Only initializers whose values float16 holds exactly are changed.
    """
    model = onnx.load_model_from_string(graph)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < MIN_NUMBERS:
            continue
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            half = values.astype(np.float16)
        if not np.array_equal(half, values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.float16"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model.SerializeToString(deterministic=True)
