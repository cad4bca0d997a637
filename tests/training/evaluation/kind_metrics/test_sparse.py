"""Explained variance, dead features and their pictures, of features that are known."""

import numpy as np
import pytest
import torch

from tests.training.export.packages import split_dataset
from training.architectures.autoencoder import PixelScaling
from training.architectures.sparse import Sparse
from training.evaluation.baselines import pca
from training.evaluation.kind_metrics import sparse

PIXELS = np.random.default_rng(0).integers(0, 256, (100, 2, 2, 1), np.uint8)
"""Each pixel is a feature of its own, and its opposite another: four of eight explain everything."""


def build(active: int = 4) -> Sparse:
    mean = torch.from_numpy(PIXELS[:60] / 255).float().mean(0).permute(2, 0, 1)
    built = Sparse(PixelScaling(), mean, 9, active, 100)
    directions = torch.cat([torch.eye(4), -torch.eye(4), torch.ones(1, 4) / 2])
    with torch.no_grad():
        built.decoder[0].weight.copy_(directions.t())  # type: ignore[index]
        built.encoder[1].weight.copy_(directions)  # type: ignore[index]
        built.encoder[1].weight[8] = 0  # type: ignore[index]  # a dead feature
    built.fold()
    return built.eval()


def test_all_features_explain_everything_and_fewer_explain_less() -> None:
    data = split_dataset(PIXELS)
    curve = sparse.explain_by_features(build(), data, sparse.curve_sizes(4))
    assert [count for count, _ in curve] == [1, 2, 4]
    shares = [share for _, share in curve]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1, abs=1e-3)
    assert shares[0] < 0.9


def test_metrics_name_the_dead_and_stand_beside_pca() -> None:
    data = split_dataset(PIXELS)
    metrics = dict(sparse.measure(build(active=2), data, pca.fit(data.train, 2)))
    assert metrics["dead_features"].value == pytest.approx(1 / 9)
    assert metrics["active_features"].value == 2
    assert 0 < metrics["explained_variance"].baselines["PCA 2"] < 1
    assert metrics["explained_variance"].value > 0.5


def test_pictures_are_what_a_feature_adds() -> None:
    pictures, shares = sparse.feature_pictures(build(), split_dataset(PIXELS), 8)
    assert pictures.shape == (8, 2, 2)
    assert (np.diff(shares) <= 0).all()
    assert {int(picture.sum()) for picture in pictures} == {1, -1}
