import numpy as np
import onnx
import torch

from service.model import package
from service.model.runtime import Model
from tests.drawings import drawings
from tests.training.export import packages
from training.architectures.autoencoder import Autoencoder, build
from training.export import float16
from training.export.graphs import export_autoencoder
from training.recipe import Dense

IMAGES = drawings(100)[..., None]


def autoencoder(*, rounded: bool) -> Autoencoder:
    torch.manual_seed(0)
    network = build(Dense(latent_dim=16, hidden=(64,), batch_norm=True), IMAGES)
    network(network.scaling(torch.from_numpy(IMAGES)))  # moves the running statistics away from 0 and 1
    network.eval()
    if rounded:
        float16.round_to_float16(network)
    return network


def test_batch_norm_is_folded_in_and_large_matrices_are_rounded() -> None:
    exact, rounded = autoencoder(rounded=False), autoencoder(rounded=True)
    assert not [module for module in rounded.modules() if isinstance(module, torch.nn.BatchNorm1d)]
    for parameter in rounded.parameters():
        small = parameter.numel() < float16.MIN_NUMBERS
        assert torch.equal(parameter, parameter.half().float()) != small
    samples = torch.from_numpy(IMAGES)
    with torch.inference_mode():
        torch.testing.assert_close(rounded.encode(samples), exact.encode(samples), atol=2e-3, rtol=0)


def test_a_package_in_float16_is_half_as_large_and_answers_the_same() -> None:
    network = autoencoder(rounded=True)
    full, small = export_autoencoder(network, IMAGES), export_autoencoder(network, IMAGES, "float16")
    for role, graph in small.items():
        assert len(graph) < 0.6 * len(full[role])
        model = onnx.load_model_from_string(graph)
        onnx.checker.check_model(model)
        large = [tensor for tensor in model.graph.initializer if np.prod(tensor.dims) >= float16.MIN_NUMBERS]
        assert large
        assert all(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in large)
    answers = []
    for graphs in (full, small):
        facts = packages.describe(network, graphs, IMAGES)
        answers.append(Model(package.verify(facts, graphs, label="small/1"), "cpu").encode(IMAGES))
    np.testing.assert_array_equal(answers[0], answers[1])


def test_what_float16_would_change_is_left_alone() -> None:
    graph = export_autoencoder(autoencoder(rounded=False), IMAGES)["encoder"]
    assert {t.data_type for t in onnx.load_model_from_string(float16.store_as_float16(graph)).graph.initializer} & {
        onnx.TensorProto.FLOAT16
    } == set()


def test_numbers_beyond_float16_are_left_alone() -> None:
    network = autoencoder(rounded=False)
    with torch.no_grad():
        network.encoder[1][0].weight.fill_(1e6)  # type: ignore[index]
    graph = onnx.load_model_from_string(float16.store_as_float16(export_autoencoder(network, IMAGES)["encoder"]))
    assert all(tensor.data_type != onnx.TensorProto.FLOAT16 for tensor in graph.graph.initializer)
