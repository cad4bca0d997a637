"""The index of neighbours: exact search in blocks, files that are none, limits."""

import io
from typing import Any

import numpy as np
import pytest

from service.model.errors import PackageError
from service.model.measures import neighbours
from service.model.measures.neighbours import Index, read_index, write_index


@pytest.mark.parametrize(("samples", "size", "dtype"), [(5, 3, "float32"), (3000, 32, "float16"), (4097, 8, "float32")])
def test_the_nearest_are_those_of_a_search_through_all(
    samples: int, size: int, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "BLOCK_ROWS", 512)
    generator = np.random.default_rng(0)
    latents = (generator.normal(100, 1, (samples, size))).astype(dtype)  # far from 0: differences of large squares
    queries = generator.normal(100, 1, (7, size)).astype(np.float32)
    rows, distances = Index(latents).find(queries, 6)
    all_distances = np.linalg.norm(queries[:, None].astype(float) - latents[None].astype(float), axis=2)
    truth = np.argsort(all_distances, axis=1, kind="stable")[:, :6]
    assert (rows == truth).all()
    assert np.allclose(distances, np.take_along_axis(all_distances, truth, 1))


def test_of_equal_samples_the_first_comes_first() -> None:
    rows, distances = Index(np.zeros((10, 2), np.float32)).find(np.zeros((1, 2)), 3)
    assert rows.tolist() == [[0, 1, 2]]
    assert distances.tolist() == [[0, 0, 0]]


def test_an_index_is_read_as_it_was_written() -> None:
    pictures = np.arange(48, dtype=np.uint8).reshape(3, 4, 4, 1)
    index = read_index(write_index(Index(np.eye(3, dtype=np.float16), ("a", "b", "한"), pictures)), 3, "it")
    assert index.names == ("a", "b", "한")
    assert (index.latents == np.eye(3)).all()
    assert index.pictures is not None
    assert (index.pictures == pictures).all()


def pack(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"no zip", "no index"),
        (pack(latents=np.zeros((3, 4), np.float32)), "latents of 4 numbers, the model's have 3"),
        (pack(latents=np.zeros((3, 3), np.int64)), "they are floats"),
        (pack(latents=np.full((3, 3), np.nan)), "not finite"),
        (pack(latents=np.zeros((3, 3), np.float32), names=np.frombuffer(b"a\nb", np.uint8)), "other numbers of names"),
        (pack(latents=np.zeros((3, 3), np.float32), pictures=np.zeros((3, 99, 99, 1), np.uint8)), "has pictures"),
        (pack(latents=np.array([object()])), "no index"),
        (pack(latents=np.zeros((3, 3), np.float32), more=np.zeros(1)), "no index"),
        (pack(latents=np.zeros((100, 1_500_000), np.float32)), "more than 512 MiB"),
        (pack(latents=np.zeros((3, 3), np.float32))[:-30], "no index"),
    ],
)
def test_what_is_no_index_is_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(PackageError, match=sentence):
        read_index(data, 3, "it")
