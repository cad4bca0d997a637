"""AutoencoderTransformer: a transformer as scikit-learn means it, which trains as autoencoder-train does."""

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from training.data.datasets import Array
from training.estimator import SCORES, AutoencoderTransformer
from training.recipe import AutoencoderRecipe

SHORT = {"optimization.epochs": 2, "optimization.steps_per_epoch": 5}


def transformer(**parameters: Any) -> AutoencoderTransformer:
    return AutoencoderTransformer(**{"settings": SHORT, "random_state": 0, **parameters})


def waves(count: int, seed: int = 0) -> Array:
    """float64 [count,24]: sines of a frequency and a phase of their own, in units of 100 around 1,000."""
    generator = np.random.default_rng(seed)
    frequency, phase = generator.uniform(1, 2, (count, 1)), generator.uniform(0, 6.28, (count, 1))
    return np.asarray(1000 + 100 * np.sin(frequency * np.linspace(0, 6.28, 24) + phase))


def pictures(count: int, seed: int = 0) -> Array:
    """uint8 [count,12,10]: a bright square at a place of its own."""
    generator = np.random.default_rng(seed)
    result = np.zeros((count, 12, 10), np.uint8)
    for image, y, x in zip(result, generator.integers(0, 8, count), generator.integers(0, 6, count), strict=True):
        image[y : y + 4, x : x + 4] = 255
    return result


@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [transformer(), transformer(kind="stacked", anomaly_score="latent-distance")]
)
def test_it_is_an_estimator_as_scikit_learn_means_it(estimator: Any, check: Any) -> None:
    """No check is expected to fail; the one of the array API is skipped unless SCIPY_ARRAY_API is set."""
    check(estimator)


def test_trained_for_long_it_is_at_least_as_good_as_pca() -> None:
    train, test = waves(400), waves(100, seed=1)
    estimator = AutoencoderTransformer(latent_dim=3, random_state=0).fit(train)
    latents = estimator.transform(test)
    assert latents.shape == (100, 3)
    linear = PCA(3).fit(train)
    linear_error = np.mean((test - linear.inverse_transform(linear.transform(test))) ** 2)
    error = np.mean((test - estimator.inverse_transform(latents)) ** 2)
    assert error < 0.8 * linear_error
    assert estimator.score(test) == pytest.approx(-error / train.var(), rel=0.2), "in standard deviations"


def test_it_stands_in_a_pipeline_and_is_searched() -> None:
    samples, labels = waves(60), np.arange(60) % 2
    pipeline = make_pipeline(transformer(), LogisticRegression())
    search = GridSearchCV(pipeline, {"autoencodertransformer__latent_dim": [2, np.int64(5)]}, cv=2)
    search.fit(samples, labels)
    assert search.predict(samples).shape == (60,)
    alone = GridSearchCV(transformer(), {"kind": ["stacked", "denoising"]}, cv=2).fit(samples)
    assert alone.best_score_ == max(alone.cv_results_["mean_test_score"])


def test_rows_have_names_where_pandas_asks_for_them() -> None:
    estimator = transformer(latent_dim=3).fit(waves(30))
    assert list(estimator.get_feature_names_out()) == [f"autoencodertransformer{i}" for i in range(3)]


@pytest.mark.parametrize("kind", ["undercomplete", "stacked", "denoising", "variational", "sparse"])
@pytest.mark.parametrize("make", [waves, pictures])
def test_every_kind_can_be_pickled_and_comes_back(kind: str, make: Any) -> None:
    samples = make(50)
    estimator = transformer(kind=kind).fit(samples)
    latents = estimator.transform(samples)
    assert latents.shape == (50, np.prod(estimator.latent_shape_))
    decoded = estimator.inverse_transform(latents)
    assert (decoded.shape, decoded.dtype) == (samples.shape, samples.dtype)
    copy = pickle.loads(pickle.dumps(estimator))
    np.testing.assert_array_equal(copy.transform(samples), latents)
    np.testing.assert_array_equal(copy.score_samples(samples), estimator.score_samples(samples))


def test_the_same_random_state_gives_the_same_estimator() -> None:
    first, second, other = (transformer(random_state=seed).fit(waves(40)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.transform(waves(5)), second.transform(waves(5)))
    assert not np.allclose(first.transform(waves(5)), other.transform(waves(5)))
    assert clone(first).get_params() == first.get_params()


def test_pictures_are_taken_as_arrays_and_as_rows() -> None:
    images = pictures(50)
    rows = images.reshape(50, -1)
    as_arrays, as_rows = transformer().fit(images), transformer(image_shape=(12, 10)).fit(rows)
    in_units = transformer(image_shape=(12, 10, 1)).fit(rows / 255)
    latents = as_arrays.transform(images)
    np.testing.assert_array_equal(as_rows.transform(rows), latents)
    np.testing.assert_array_equal(in_units.transform(rows / 255), latents)
    np.testing.assert_array_equal(as_arrays.transform(rows), latents)
    decoded = as_rows.inverse_transform(latents)
    np.testing.assert_array_equal(decoded.reshape(images.shape), as_arrays.inverse_transform(latents))
    np.testing.assert_allclose(in_units.inverse_transform(latents), decoded / 255, atol=1e-6)
    assert isinstance(as_rows.recipe_, AutoencoderRecipe)
    assert as_rows.recipe_.architecture.type == "convolutional"
    colour = np.repeat(images[..., None], 3, axis=3)
    assert transformer().fit(colour).transform(colour).shape == latents.shape


@pytest.mark.parametrize("score", SCORES)
def test_unusual_samples_have_lower_scores(score: str) -> None:
    images = pictures(150)
    settings = {"optimization.epochs": 10, "optimization.steps_per_epoch": 20}
    estimator = AutoencoderTransformer(anomaly_score=score, settings=settings, random_state=0).fit(images[:100])
    noise = np.random.default_rng(1).integers(0, 256, (50, 12, 10), dtype=np.uint8)
    scores = estimator.score_samples(np.concatenate([images[100:], noise]))
    assert roc_auc_score(np.repeat([1, 0], 50), scores) > 0.9


def test_recipes_are_taken_by_name_and_by_file(tmp_path: Any) -> None:
    images = pictures(50)
    estimator = transformer(recipe="cats-variational", settings={**SHORT, "architecture.latent_dim": 4}).fit(images)
    assert estimator.transform(images).shape == (50, 4)
    assert estimator.recipe_.kind == "variational"
    file = tmp_path / "mine.toml"
    file.write_text(
        'name = "mine"\nkind = "stacked"\ndescription = "Mine."\ndata = { source = "elsewhere" }\n'
        'architecture = { type = "dense", hidden = [8], latent_dim = 3 }\noptimization = { epochs = 1 }\n'
    )
    assert AutoencoderTransformer(recipe=str(file)).fit(images).transform(images).shape == (50, 3)


def test_nothing_is_written_unless_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    transformer().fit(waves(20))
    assert capsys.readouterr() == ("", "")
    transformer(verbose=True).fit(waves(20))
    assert "settings: dense layers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"kind": "dense"}, "kind is 'dense'; it is one of undercomplete, stacked"),
        ({"kind": "stacked", "recipe": "cats-stacked"}, "give kind .stacked. or recipe .cats-stacked., not both"),
        ({"recipe": "dogs"}, "no recipe 'dogs'"),
        ({"recipe": "photos"}, "unet architecture, which has no latent"),
        ({"settings": {"optimization.speed": 3}}, "optimization.*speed"),
        ({"latent_dim": 0}, "latent_dim"),
        ({"anomaly_score": "made-anomalies"}, "anomaly_score is 'made-anomalies'; it is one of error"),
        ({"anomaly_score": "error-by-energy"}, "error-by-energy is not for these samples; try error, "),
        ({"validation_fraction": 1.0}, "validation_fraction is 1.0"),
        ({"image_shape": (5, 5)}, r"pictures of \(5, 5, 1\) do not fit 24 features"),
        ({"image_shape": (4, 6)}, "pixels from .* they are 0 to 255"),
        ({"image_shape": 24}, "image_shape is 24"),
        ({"device": "tpu9"}, "device tpu9 is not here"),
        ({"minutes": -1}, "minutes is -1"),
    ],
)
def test_what_cannot_be_is_a_sentence(parameters: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        transformer(**parameters).fit(waves(30))


def test_other_samples_than_those_of_fit_are_refused() -> None:
    fitted = transformer().fit(pictures(30))
    with pytest.raises(ValueError, match=r"X has samples of \(10, 12\); fit had \(12, 10\)"):
        fitted.transform(pictures(5).transpose(0, 2, 1))
    with pytest.raises(ValueError, match="expecting 120 features"):
        fitted.transform(np.zeros((3, 7)))
    with pytest.raises(ValueError, match="pixels from 0 to 300; they are 0 to 255 here"):
        fitted.transform(np.full((3, 120), 300.0) * (np.arange(120) > 5))
    with pytest.raises(ValueError, match="X has 7 features; the latent has"):
        fitted.inverse_transform(np.zeros((3, 7)))
    assert make_pipeline(FunctionTransformer(), fitted).transform(pictures(3)).shape[0] == 3
