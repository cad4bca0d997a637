from pathlib import Path

import onnx

from tests.training.export import packages
from training.recipe import Dense


def test_graphs_hold_no_paths_and_are_the_same_each_time() -> None:
    _, graphs, _ = packages.export(Dense(latent_dim=4), packages.IMAGES)
    _, again, _ = packages.export(Dense(latent_dim=4), packages.IMAGES)
    assert graphs == again
    for graph in graphs.values():
        assert b".py" not in graph
        assert str(Path.cwd()).encode() not in graph
        assert not onnx.load_model_from_string(graph).metadata_props
