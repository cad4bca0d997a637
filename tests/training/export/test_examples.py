"""Examples that training puts into a package."""

import io

import numpy as np

from service.model.examples import MAX_BYTES
from training.export.examples import COUNT, choose_examples, make_file


def test_classes_take_turns() -> None:
    samples = np.arange(20, dtype=np.uint8).reshape(20, 1, 1, 1)
    labels = np.array(["a"] * 15 + ["b"] * 4 + ["c"])
    chosen = choose_examples(samples, labels)
    assert chosen is not None
    assert chosen.ravel().tolist()[:6] == [0, 15, 19, 1, 16, 2]
    assert len(chosen) == COUNT
    assert choose_examples(samples).ravel().tolist() == list(range(COUNT))  # type: ignore[union-attr]


def test_large_samples_are_few_or_none() -> None:
    large = np.zeros((5, 200, 200, 3), np.uint8)
    assert len(np.load(io.BytesIO(make_file(large)["examples.npy"]))) == MAX_BYTES // large[0].nbytes
    assert make_file(np.zeros((5, 400, 400, 3), np.uint8)) == {}
