import numpy as np
import pytest
import torch

from tests.drawings import drawings
from training.architectures.autoencoder import build
from training.architectures.classifier import Classifier
from training.recipe import Classification, Dense


def small_classifier(images: np.ndarray, options: dict[str, float], *, frozen: bool = False) -> Classifier:
    """Of four classes, on an encoder of one hidden layer with batch norm."""
    classification = Classification.model_validate({"optimization": {"epochs": 1}, **options})
    autoencoder = build(Dense(latent_dim=4, hidden=(8,), batch_norm=True), images)
    return Classifier(autoencoder, 4, 4, classification, frozen=frozen)


def test_masking_keeps_the_sum_of_the_inputs_and_noise_has_its_deviation() -> None:
    inputs: list[torch.Tensor] = []
    images = drawings(40)[..., None]
    for options in ({}, {"masking": 0.4}, {"noise": 0.5}):
        module = small_classifier(images, options).eval()
        assert isinstance(module.encoder, torch.nn.Sequential)
        module.encoder[0].register_forward_hook(lambda _module, _args, flat: inputs.append(flat))
        scaled = torch.full((40, 1, 12, 12), 0.5)
        with torch.inference_mode():
            module(scaled, torch.Generator().manual_seed(0))
            module(scaled)
    clean, _, masked, _, noisy, evaluated = inputs
    assert torch.equal(clean, evaluated)
    assert masked.mean().item() == pytest.approx(0.5, rel=0.03)
    assert (masked == 0).float().mean().item() == pytest.approx(0.4, abs=0.02)
    assert (noisy - clean).std().item() == pytest.approx(0.5, rel=0.03)


def test_probabilities_of_samples_as_stored_sum_to_1_and_draw_nothing_at_random() -> None:
    images = drawings(20)[..., None]
    classifier = small_classifier(images, {"dropout": 0.5, "noise": 1.0}).eval()
    first, second = (classifier.probabilities(torch.from_numpy(images)) for _ in range(2))
    assert first.shape == (20, 4)
    assert torch.equal(first, second)
    torch.testing.assert_close(first.sum(1), torch.ones(20))


def test_a_frozen_encoder_is_never_in_training_mode() -> None:
    images = drawings(20)[..., None]
    for frozen in (True, False):
        classifier = small_classifier(images, {}, frozen=frozen).train()
        assert classifier.encoder.training is not frozen
        assert classifier.output.training
        assert all(parameter.requires_grad is not frozen for parameter in classifier.encoder.parameters())
