"""Tiles: every pixel once, and no seam that a model could see."""

import numpy as np
import pytest

from service.imaging import tiling
from service.inference.tiled import TileTask, denoise
from service.model.package import read
from service.model.runtime import Model
from tests.service import packages as doubles

SIDE = 32


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = doubles.write_denoisers(tmp_path_factory.mktemp("models"))
    return Model(read(folder / "page" / "1"))


def structured(height: int, width: int, channels: int = 1) -> np.ndarray:
    """Noise, and lines across every border that tiles might have."""
    image = np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, channels), dtype=np.uint8)
    for place in range(0, max(height, width), 5):
        image[place : place + 1] = 255 * (place % 2)
        image[:, place : place + 1] = 255 * (place % 3 == 0)
    diagonal = np.arange(min(height, width))
    image[diagonal, diagonal] = 128
    return image


def denoise_in_tiles(model: Model, image: np.ndarray, halo: int) -> np.ndarray:
    output = np.zeros_like(image)
    for tile in tiling.plan(image.shape[0], image.shape[1], (SIDE, SIDE), halo, model.strides):
        denoise(model, 1, 1000, [TileTask(image, output, tile)])
    return output


def difference(model: Model, image: np.ndarray, halo: int) -> int:
    untiled = model.denoise(image[None])[0]
    return int(np.abs(denoise_in_tiles(model, image, halo).astype(int) - untiled).max())


SIZES = [(1, 1), (1, 77), (83, 1), (2, 3), (31, 97), (32, 32), (33, 64), (101, 103), (64, 200)]


@pytest.mark.parametrize("size", SIZES)
def test_tiles_and_the_whole_agree(page: Model, size: tuple[int, int]) -> None:
    assert difference(page, structured(*size), doubles.CONVOLUTIONAL_HALO) <= 1


def test_a_halo_that_is_too_small_would_be_seen(page: Model) -> None:
    assert difference(page, structured(101, 103), 2) > 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("halo", "stride"), [(0, 1), (6, 2), (5, 8), (15, 4), (40, 8)])
def test_every_pixel_is_written_once_by_a_tile_that_sees_far_enough(
    size: tuple[int, int], halo: int, stride: int
) -> None:
    count = np.zeros((*size, 1), int)
    shapes = set()
    max_side = max(SIDE, 3 * halo)
    for tile in tiling.plan(size[0], size[1], (max_side, max_side), halo, (stride, stride)):
        tile.core(count)[...] += 1
        shapes.add(tile.shape)
        for span, length in ((tile.y, size[0]), (tile.x, size[1])):
            assert span.start % stride == 0 == (span.stop - span.start) % stride
            assert span.start == 0 or span.first - span.start >= halo
            assert span.stop >= length or span.stop - span.last >= halo
    assert (count == 1).all()
    assert len(shapes) == 1


def test_a_side_is_a_multiple_of_the_stride_and_long_enough_for_little_overlap() -> None:
    assert tiling.choose_side(512, 20, 8) == 512
    assert tiling.choose_side(515, 20, 8) == 512
    assert tiling.choose_side(512, 65, 8) == 14 * 72
    assert tiling.choose_side(64, 0, 100) == 100


def test_tiles_are_no_larger_than_so_many_must_be() -> None:
    halo, max_side = 68, 952
    spans = {tile.y for tile in tiling.plan(3508, 1, (max_side, max_side), halo, (4, 4))}
    assert len(spans) == 5  # four of 952 would see 3400 pixels
    assert {span.stop - span.start for span in spans} == {812}  # five of 810.4, and multiples of 4


def test_the_tiles_of_a_graph_in_bytes_are_larger_but_no_larger_than_memory_allows() -> None:
    assert [tiling.count_halos_of_bytes(halo) for halo in (0, 1, 36, 48, 96, 500)] == [30, 30, 30, 22, 20, 20]


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("size", [(3000, 4000), (2160, 3840), (3508, 2480), (700, 5000), (1090, 1090), (900, 1000)])
def test_no_worker_has_more_to_do_than_with_the_fewest_tiles(size: tuple[int, int], workers: int) -> None:
    def count_pixels(tiles: list[tiling.Tile]) -> int:
        """Of the worker that has the most."""
        (shape,) = {tile.shape for tile in tiles}
        return -(-len(tiles) // workers) * shape[0] * shape[1]

    fewest = tiling.plan(*size, (1008, 1008), 36, (4, 4))
    balanced = tiling.plan(*size, (1008, 1008), 36, (4, 4), workers=workers)
    assert count_pixels(balanced) <= count_pixels(fewest)
    assert len(balanced) >= len(fewest)
    assert len(fewest) > 1 or balanced == fewest, "one tile is run by all cores together"
    count = np.zeros((*size, 1), int)
    for tile in balanced:
        tile.core(count)[...] += 1
    assert (count == 1).all()


def test_cores_do_not_idle_during_the_last_tiles() -> None:
    assert len(tiling.plan(2160, 3840, (1008, 1008), 36, (4, 4))) == 15
    assert len(tiling.plan(2160, 3840, (1008, 1008), 36, (4, 4), workers=2)) == 18


@pytest.mark.parametrize("size", [(1, 1), (31, 97), (64, 200), (333, 150)])
def test_the_weights_of_blended_tiles_sum_to_one(size: tuple[int, int]) -> None:
    height, width = size
    total, hard = np.zeros((height, width, 1)), np.zeros((height, width, 1))
    for tile in tiling.plan(height, width, (64, 64), 8, (4, 4), is_blended=True):
        assert tile.core(total).shape == tile.weights().shape == tile.inner(np.zeros((*tile.shape, 1))).shape
        tile.core(total)[...] += tile.weights()
        tile.core(hard)[...] = np.maximum(tile.core(hard), tile.weights())
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert (hard < 1).any() == (height > 64 or width > 64), "neighbours share pixels"
