import numpy as np
import pytest
import torch
from torch import nn

from tests.drawings import drawings
from tests.training.export import packages
from training import train_classifier
from training.architectures.autoencoder import build
from training.architectures.classifier import Classifier
from training.errors import ParityError
from training.export import parity
from training.export.graphs import export_classifier
from training.recipe import Classification, Convolutional, Dense, Optimization


@pytest.mark.parametrize(
    ("architecture", "samples"),
    [
        (Dense(latent_dim=4, hidden=(16,), tied=True, batch_norm=True), packages.IMAGES),
        (Dense(latent_dim=4, hidden=(16,), centered=True), packages.IMAGES),
        (Convolutional(latent_dim=4, channels=(4, 8), hidden=8), drawings(100, size=13)[..., None]),
        (Convolutional(latent_channels=2, channels=(4,), encoder_blocks=(1,), decoder_blocks=(1,)), packages.VECTORS),
    ],
    ids=["tied dense images", "centred dense images", "convolutional odd-sized images", "convolutional vectors"],
)
def test_the_exported_graphs_answer_as_torch_does(architecture: Dense | Convolutional, samples: np.ndarray) -> None:
    autoencoder, graphs, manifest = packages.export(architecture, samples)
    model, differences = parity.verify_autoencoder(autoencoder, packages.split_dataset(samples), manifest, graphs)
    assert differences.output <= (1 if samples.dtype == np.uint8 else 1e-3)
    for count in (1, 7):
        with torch.inference_mode():
            expected = autoencoder.encode(torch.from_numpy(samples[:count])).numpy()
        np.testing.assert_allclose(model.encode(samples[:count]), expected, atol=1e-4)


def test_a_package_that_answers_otherwise_than_torch_is_not_written() -> None:
    autoencoder, graphs, manifest = packages.export(Dense(latent_dim=4), packages.IMAGES)
    with torch.no_grad():
        nn.init.constant_(autoencoder.decoder[0][0].bias, 0.5)  # type: ignore[index]
    with pytest.raises(ParityError, match="no package was written"):
        parity.verify_autoencoder(autoencoder, packages.split_dataset(packages.IMAGES), manifest, graphs)


def test_a_classifier_that_answers_otherwise_is_not_exported() -> None:
    images = packages.IMAGES[:20]
    classification = Classification(optimization=Optimization(epochs=1))
    classifier = Classifier(build(Dense(latent_dim=4), images), 4, 4, classification, frozen=True).eval()
    expected = train_classifier.predict_probabilities(classifier, images)
    graph = export_classifier(classifier, images)
    assert parity.verify_classifier(classifier, graph, images, expected) < 1e-5
    with pytest.raises(ParityError, match="no classifier was written"):
        parity.verify_classifier(classifier, graph, images, expected + 0.01)
