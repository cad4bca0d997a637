"""The sparse autoencoder: the largest features, directions of length 1, dead features."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.drawings import build_small_recipe, drawings, waves
from training.architectures import kinds
from training.architectures.sparse import Explain, Sparse, TopK

IMAGES, VECTORS = drawings(20)[..., None], waves(20, 27)


def build(samples: np.ndarray, active: int = 3, dead_after: int = 30) -> Sparse:
    torch.manual_seed(0)
    recipe = build_small_recipe(
        "x",
        kind="sparse",
        architecture={"type": "dense", "latent_dim": 64},
        sparsity={"active": active, "dead_after": dead_after},
    )
    built = kinds.build(recipe, samples)
    assert isinstance(built, Sparse)
    return built


def test_of_each_row_the_largest_above_zero_are_kept() -> None:
    values = torch.tensor([[0.5, -1.0, 3.0, 2.0], [-4.0, -3.0, -2.0, 1.0]])
    assert TopK(2)(values).tolist() == [[0.0, 0.0, 3.0, 2.0], [0.0, 0.0, 0.0, 1.0]]


@pytest.mark.parametrize("samples", [IMAGES, VECTORS], ids=["images", "vectors"])
def test_a_sample_has_few_features_and_the_decoder_begins_at_the_mean(samples: np.ndarray) -> None:
    sparse = build(samples).eval()
    stored = torch.from_numpy(samples)
    features = sparse.encode(stored)
    assert features.shape == (20, 64)
    assert ((features > 0).sum(1) <= 3).all()
    assert (features >= 0).all()
    assert features.any()
    scaled = sparse.scaling(stored)
    torch.testing.assert_close(sparse.decoder(torch.zeros(1, 64))[0], scaled.mean(0), atol=1e-5, rtol=0)


def test_the_folded_decoder_answers_the_same() -> None:
    sparse = build(IMAGES).eval()
    before = sparse.decode(sparse.encode(torch.from_numpy(IMAGES)))
    directions = F.normalize(sparse.decoder[0].weight, dim=0)  # type: ignore[index]
    sparse.fold()
    torch.testing.assert_close(sparse.decoder[0].weight, directions)  # type: ignore[index]
    torch.testing.assert_close(before, sparse.decode(sparse.encode(torch.from_numpy(IMAGES))))
    sparse.fold()  # again: nothing changes


def test_dead_features_explain_the_error_and_only_while_training() -> None:
    sparse = build(IMAGES)
    explain = Explain(sparse)
    scaled = sparse.scaling(torch.from_numpy(IMAGES))
    for expected in (20, 40):
        output, answer = explain(scaled).chunk(2, 1)
        assert not answer.any()
        torch.testing.assert_close(output, sparse(scaled).flatten(1))
        used = (sparse.encoder(scaled) > 0).any(0)
        assert set(sparse.idle[used].tolist()) == {0}
        assert set(sparse.idle[~used].tolist()) == {expected}
    _, answer = explain(scaled).chunk(2, 1)
    answer.square().sum().backward()
    gradient = sparse.encoder[1].weight.grad.abs().sum(1)  # type: ignore[index]
    assert (gradient[~used] > 0).any()
    assert not gradient[used].any()
    explain.eval()
    assert not explain(scaled).chunk(2, 1)[1].any()
    assert sparse.idle.max() == 60
