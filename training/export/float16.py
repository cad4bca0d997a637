"""Large matrices of a package in float16: half the bytes, all arithmetic in float32 as before.

autoencoder -> batch norm folded in, weights rounded -> measured -> exported -> float16 initializer, Cast to float32

The service's runtime folds the casts when it opens the graph, so a run costs what it did.
"""

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import nn
from torch.nn.utils.fusion import fuse_linear_bn_eval

from training.architectures.autoencoder import Autoencoder, DenseLayer

SMALLEST = 1024  # numbers; smaller tensors stay as they are


@torch.no_grad()
def round_to_float16(autoencoder: Autoencoder) -> None:
    """Every large parameter (float32) of a dense autoencoder takes the nearest value that float16 has, in place.

    Batch norm is folded into the weights first, as the exporter would do it after rounding.
    """
    autoencoder.eval()
    for layer in autoencoder.modules():
        if isinstance(layer, DenseLayer) and isinstance(norm := layer[1], nn.BatchNorm1d):
            if not isinstance(linear := layer[0], nn.Linear):
                raise TypeError("This is a bug: recipes in float16 have no tied weights")
            layer[0] = fuse_linear_bn_eval(linear, norm)
            del layer[1]
    for parameter in autoencoder.parameters():
        if parameter.numel() >= SMALLEST:
            parameter.copy_(parameter.half().float())


def store_as_float16(graph: bytes) -> bytes:
    """The ONNX graph with its large float32 initializers as float16, each cast back; only those that lose nothing."""
    model = onnx.load_model_from_string(graph)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < SMALLEST:
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
