import io

import numpy as np
from PIL import Image

from tests.drawings import drawings, waves
from training.engine.loop import History
from training.evaluation import figures
from training.evaluation.figures import Drawing

IMAGES = drawings(40)[..., None]


def decode_png(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def pixels_of(drawing: Drawing) -> np.ndarray:
    return decode_png(drawing.picture)


def test_rows_grow_with_their_entries_and_show_the_samples() -> None:
    latents = np.random.default_rng(0).normal(size=(40, 32)).astype(np.float32)
    two = pixels_of(figures.draw_rows([("original", IMAGES), ("reconstruction", IMAGES)]))
    three = pixels_of(figures.draw_rows([("original", IMAGES), ("latent", latents), ("reconstruction", IMAGES)]))
    assert three.shape[0] > two.shape[0]
    assert three.shape[1] == two.shape[1]
    blank = pixels_of(figures.draw_rows([("original", IMAGES * 0), ("reconstruction", IMAGES * 0)]))
    assert (two != blank).any()


def test_vectors_spatial_latents_and_colour_have_rows_too() -> None:
    spatial = np.random.default_rng(0).normal(size=(4, 5, 3, 3)).astype(np.float32)
    colour = np.repeat(IMAGES[:4], 3, axis=3)
    picture = pixels_of(figures.draw_rows([("wave", waves(4, 100)), ("latent", spatial), ("colour", colour)]))
    assert picture.std() > 10


def test_a_flat_latent_fills_its_grid() -> None:
    assert figures._latent_grid(np.arange(32.0)).shape == (4, 8)
    assert figures._latent_grid(np.arange(37.0)).shape == (6, 7)
    assert figures._latent_grid(np.ones((5, 2, 2))).shape == (4, 6)


def test_curves_histogram_and_map_are_pictures() -> None:
    history = History(loss=[3.0, 2.0, 1.0], validation=[3.1, 2.5, 2.6], best=1)
    errors = np.random.default_rng(0).uniform(0.01, 0.1, 40)
    drawings = [
        figures.draw_learning_curve([("layer", history), ("fine-tuning", history)], "error"),
        figures.draw_error_histogram(errors, [("PCA", 0.05)], "mse"),
        figures.draw_latent_map(errors[:, None], IMAGES, seed=0),
        figures.draw_latent_map(np.random.default_rng(0).normal(size=(60, 80)), waves(60), seed=0),
    ]
    for drawing in drawings:
        assert pixels_of(drawing).std() > 5


def test_the_map_is_the_same_for_the_same_seed() -> None:
    latents = np.random.default_rng(0).normal(size=(40, 8))
    assert figures.draw_latent_map(latents, IMAGES, 1) == figures.draw_latent_map(latents, IMAGES, 1)


def test_a_loss_below_zero_is_left_out_of_the_learning_curve() -> None:
    negative = figures.draw_learning_curve([("a", History([-0.5, -0.6], [0.2, 0.1], 1))], "error")
    more_negative = figures.draw_learning_curve([("a", History([-0.7, -0.9], [0.2, 0.1], 1))], "error")
    positive = figures.draw_learning_curve([("a", History([0.5, 0.4], [0.2, 0.1], 1))], "error")
    assert negative == more_negative
    assert negative != positive


def test_a_compressed_figure_has_the_same_pixels() -> None:
    grey, colour = (np.random.default_rng(0).integers(0, 256, (20, 30, c), np.uint8) for c in (1, 3))
    for pixels, mode in ((np.repeat(grey, 3, 2), "L"), (colour, "RGB")):
        buffer = io.BytesIO()
        Image.fromarray(np.dstack([pixels, np.full((20, 30), 255, np.uint8)])).save(buffer, "PNG")
        compressed = figures.compress_png(buffer.getvalue())
        assert len(compressed) < len(buffer.getvalue())
        assert Image.open(io.BytesIO(compressed)).mode == mode
        np.testing.assert_array_equal(decode_png(compressed), pixels)
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 4), np.uint8)).save(buffer, "PNG")
    assert figures.compress_png(buffer.getvalue()) == buffer.getvalue()  # what is transparent stays so


def test_samples_features_and_explained_variance_are_drawn() -> None:
    grid = pixels_of(figures.draw_grid(IMAGES[:13]))
    assert grid.shape[1] > 2 * grid.shape[0] * 0.9
    assert (grid != pixels_of(figures.draw_grid(IMAGES[13:26]))).any()
    directions = np.random.default_rng(0).normal(size=(12, 12, 12)).astype(np.float32)
    assert pixels_of(figures.draw_features(directions, np.linspace(0.5, 0.1, 12))).std() > 10
    assert pixels_of(figures.draw_features(directions[:3].reshape(3, -1), np.linspace(0.5, 0.1, 3))).std() > 5
    curves = [("this model", [(1, -0.2), (8, 0.8)]), ("PCA", [(1, 0.1), (8, 0.5)])]
    assert figures.draw_explained_variance(curves) != figures.draw_explained_variance(curves[:1])


def test_a_learning_curve_below_zero_is_drawn_on_a_plain_scale() -> None:
    history = History(loss=[5.0, -1.0, -4.0], validation=[4.0, -2.0, -3.0], best=2)
    assert pixels_of(figures.draw_learning_curve([("training", history)], "error")).std() > 5


def test_classes_colour_the_latent_map() -> None:
    latents = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    for samples in (IMAGES, waves(40)):
        plain = pixels_of(figures.draw_latent_map(latents, samples, 0))
        for labels in (np.array(["cat", "dog"] * 20), np.array([f"class {i}" for i in range(40)])):
            coloured = pixels_of(figures.draw_latent_map(latents, samples, 0, labels))
            assert len(np.unique(coloured.reshape(-1, 3), axis=0)) > len(np.unique(plain.reshape(-1, 3), axis=0))


def test_the_words_of_a_figure_are_where_its_labels_say() -> None:
    history = History(loss=[3.0, 2.0, 1.0], validation=[3.1, 2.5, 2.6], best=1)
    errors = np.random.default_rng(0).uniform(0.01, 0.1, 40)
    latents = np.random.default_rng(1).normal(size=(40, 2))
    drawings = {
        "rows": figures.draw_rows([("original", IMAGES), ("reconstruction", IMAGES)]),
        "curve": figures.draw_learning_curve([("pretraining, layer 1", history), ("fine-tuning", history)], "error"),
        "histogram": figures.draw_error_histogram(errors, [("PCA 4", 0.05)], "squared error"),
        "map": figures.draw_latent_map(latents, waves(40), 0, np.array(["cat", "dog"] * 20)),
        "pairs": figures.draw_before_after([("own pages", *[np.full((60, 300, 1), 90, np.uint8)] * 3)] * 2),
    }
    words = {name: [label.text for label in drawing.labels] for name, drawing in drawings.items()}
    assert words["rows"] == ["original", "reconstruction"]
    assert sorted(words["map"]) == ["cat", "dog"]
    assert sorted(words["pairs"]) == ["clean", "denoised", "noisy", "own pages", "own pages"]
    assert [words["curve"].count(word) for word in ("epoch", "error", "validation error")] == [2, 2, 2]
    assert {"40 held-out samples", "squared error", "samples", "PCA 4 0.05"} < set(words["histogram"])
    for drawing in drawings.values():
        picture = pixels_of(drawing)
        for label in drawing.labels:
            box = picture[label.top : label.bottom, label.left : label.right]
            assert box.min() < 200, label.text  # ink in it
            assert (label.bottom - label.top > label.right - label.left) == (label.turn == 90)
            beside = picture[label.top : label.bottom, label.right + 1 : label.right + 3]
            assert label.turn or (beside > 200).all(), label.text


def test_numbers_alone_are_no_words() -> None:
    directions = np.random.default_rng(0).normal(size=(3, 12, 12)).astype(np.float32)
    assert figures.draw_features(directions, np.linspace(0.5, 0.1, 3)).labels == ()
    assert figures.draw_grid(IMAGES[:4]).labels == ()
