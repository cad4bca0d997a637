"""Estimator of scikit-learn: an autoencoder that `fit` trains, and that stands in a Pipeline or a GridSearchCV.

X -> samples, split -> recipe, or training.own_data -> training.train_autoencoder.train in a temporary folder
  -> transform (latents), inverse_transform, score_samples
"""

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from service.model.measures.scores import COMPONENTS, Pathway, Score
from training import own_data
from training import recipe as recipes
from training.data.datasets import Dataset
from training.engine import distributed, progress
from training.errors import RecipeError
from training.evaluation import autoencoders
from training.evaluation.scores import fit_components
from training.own_data import OwnData
from training.recipe import AutoencoderRecipe, TrainedKind
from training.train_autoencoder import train

Array = NDArray[Any]

LEAST_SAMPLES = 4  # of which one is for validation
SEEDS = 2**31 - 1
WHITE = 255  # of the pixels that the network gets
SCORES = tuple(name for name in COMPONENTS if name != "made-anomalies")  # which takes a minute, and 1,500 samples


class AutoencoderTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Samples -> latents, by an autoencoder that `fit` trains.

    X is numbers [n_samples, n_features], which the network standardises itself; or pictures: [n_samples,H,W] or
    [n_samples,H,W,C], or rows of pixels with `image_shape`. Pixels are 0 to 1, or 0 to 255; the network gets 8 bits of
    them.

    Args:
        kind: undercomplete (if there is no recipe), stacked, denoising, variational or sparse; settings fit the number
            and the shape of the samples (training.own_data).
        recipe: in place of `kind`: a .toml file, or the name of a shipped recipe, whose data and ablations are left
            out.
        latent_dim: how many numbers the latent has.
        settings: further changes of the recipe, {"optimization.epochs": 50}, as --set of autoencoder-train.
        image_shape: (H,W) or (H,W,C), C 1 or 3: rows of X are pictures.
        anomaly_score: what `score_samples` goes by, one of training.estimator.SCORES (docs/anomalies.md).
        validation_fraction: of the samples, by which the best epoch is chosen; above 0, below 1.
        minutes: `fit` ends after about so many.
        device: cpu, cuda, cuda:1; None: the GPU if there is one.
        random_state: of split, weights and order; an int for the same result again.
        verbose: report the training on stderr.

    Attributes:
        network_: the torch module, on the CPU.        recipe_: what it was trained by.
        history_: errors of each epoch.                n_iter_: how many epochs there were.
        n_features_in_, feature_names_in_: of X.       latent_shape_: of one latent, which `transform` flattens.
    """

    def __init__(
        self,
        kind: str | None = None,
        *,
        recipe: str | None = None,
        latent_dim: int | None = None,
        settings: Mapping[str, Any] | None = None,
        image_shape: tuple[int, ...] | None = None,
        anomaly_score: str = "error",
        validation_fraction: float = 0.15,
        minutes: float | None = None,
        device: str | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.kind = kind
        self.recipe = recipe
        self.latent_dim = latent_dim
        self.settings = settings
        self.image_shape = image_shape
        self.anomaly_score = anomaly_score
        self.validation_fraction = validation_fraction
        self.minutes = minutes
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: object = None) -> Self:  # noqa: ARG002, N803
        """Train. ValueError: X or a parameter is not what it can be; the sentence says which.

        Raises:
            NotFinite: the loss became NaN or infinite.
        """
        if not 0 < self.validation_fraction < 1:
            raise ValueError(f"validation_fraction is {self.validation_fraction}; it is above 0 and below 1")
        if self.minutes is not None and self.minutes < 0:
            raise ValueError(f"minutes is {self.minutes}; it is 0 or more, or None")
        if self.image_shape is not None and not isinstance(self.image_shape, Sequence):
            raise ValueError(f"image_shape is {self.image_shape!r}; it is (H,W), or (H,W,C)")
        rows = self._check_rows(X, is_fit=True)
        samples = self._to_samples(rows)
        seed = int(check_random_state(self.random_state).randint(SEEDS))
        order = np.random.default_rng(seed).permutation(len(samples))
        held_out = min(len(samples) - 2, max(1, round(self.validation_fraction * len(samples))))
        validation, training = samples[order[:held_out]], samples[order[held_out:]]
        data = Dataset("X", "not stated", training, validation, validation)
        try:
            self.recipe_ = self._choose_recipe(data, seed)
            device = distributed.select_device(self.device)
            with tempfile.TemporaryDirectory() as folder, progress.silence(is_silent=not self.verbose):
                result = train(self.recipe_, data, Path(folder), device, self.minutes)
        except RecipeError as error:
            raise ValueError(str(error)) from error
        self.network_, self.history_ = result.network, result.history
        self.n_iter_ = len(result.history.validation)
        self.latent_shape_ = autoencoders.encode(self.network_, samples[:1]).shape[1:]
        self.score_ = self._fit_score(training)
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:  # noqa: N803
        """X -> latents float32 [n_samples, n_features_out]."""
        latents = autoencoders.encode(self.network_, self._read_samples(X))
        return latents.reshape(len(latents), -1)

    def inverse_transform(self, X: ArrayLike) -> Array:  # noqa: N803
        """Latents -> samples as `fit` had them: float64 numbers; pictures uint8, or float32 where they are 0 to 1."""
        check_is_fitted(self)
        latents = check_array(X, dtype=np.float32, copy=True)  # a copy can be written to, which torch wants
        if latents.shape[1] != self._n_features_out:
            raise ValueError(f"X has {latents.shape[1]} features; the latent has {self._n_features_out}")
        decoded = autoencoders.decode(self.network_, latents.reshape(-1, *self.latent_shape_))
        if self.white_ == 1:
            decoded = (decoded / WHITE).astype(np.float32)
        return decoded.reshape(-1, *self.sample_shape_)

    def score_samples(self, X: ArrayLike) -> NDArray[np.float32]:  # noqa: N803
        """How normal each sample is, float32 [n_samples]: the anomaly score, negated, so that higher is more normal."""
        return -self.score_.compute(self._trace(self._read_samples(X))).astype(np.float32)

    def score(self, X: ArrayLike, y: object = None) -> float:  # noqa: ARG002, N803
        """Mean squared error of the reconstructions, negated: of pixels in 0..1, or of numbers in deviations."""
        return -float(self._trace(self._read_samples(X), is_error_alone=True).error.mean())

    @property
    def _n_features_out(self) -> int:
        return math.prod(self.latent_shape_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.input_tags.three_d_array = True
        return tags

    # --- training --------------------------------------------------------------------------------------------

    def _choose_recipe(self, data: Dataset, seed: int) -> AutoencoderRecipe:
        """The recipe for these samples. Raises RecipeError."""
        changes: dict[str, Any] = {"data": {"source": data.source}, "seed": seed, **(self.settings or {})}
        if self.latent_dim is not None:
            changes |= {"architecture.latent_dim": self.latent_dim, "architecture.latent_channels": "none"}
        changes = {key: value.item() if isinstance(value, np.generic) else value for key, value in changes.items()}
        if self.recipe is not None:
            if self.kind is not None:
                raise RecipeError(f"give kind ({self.kind}) or recipe ({self.recipe}), not both")
            return recipes.load_autoencoder(self.recipe, {"ablation": [], "notes": "none", **changes})
        kind = "undercomplete" if self.kind is None else self.kind
        if kind not in get_args(TrainedKind):
            raise RecipeError(f"kind is {kind!r}; it is one of {', '.join(get_args(TrainedKind))}")
        own = OwnData(kind, {"name": "estimator", "description": "By training.estimator.", **changes})
        recipe = own.complete(data)
        if not isinstance(recipe, AutoencoderRecipe):
            raise RecipeError(f"settings make a denoiser without a latent: {recipe.architecture.type}")
        if self.verbose:
            progress.report(own_data.describe(recipe))
        return recipe

    def _fit_score(self, training: Array) -> Score:
        """The score that `anomaly_score` names. Raises ValueError."""
        if self.anomaly_score not in SCORES:
            raise ValueError(f"anomaly_score is {self.anomaly_score!r}; it is one of {', '.join(SCORES)}")
        if self.anomaly_score == "error":
            return Score(("error",), {})
        parameters = fit_components(self._trace(training), self.network_.units)
        if self.anomaly_score not in parameters:
            raise ValueError(
                f"anomaly_score {self.anomaly_score} is not for these samples; try {', '.join(parameters)}"
            )
        own = parameters[self.anomaly_score]
        return Score((self.anomaly_score,), {f"{self.anomaly_score}.{key}": array for key, array in own.items()})

    def _trace(self, samples: Array, *, is_error_alone: bool = False) -> Pathway:
        """What scores are computed from; of the error alone without latents."""
        network, units = self.network_, self.network_.units
        output = autoencoders.reconstruct(network, samples)
        if units is None:
            scaled = samples / WHITE
            differences = (scaled - output / WHITE).reshape(len(samples), -1)
        else:
            scaled, differences = units.standardize(samples), units.differences(samples, output)
        if is_error_alone:
            return Pathway(scaled, differences, scaled, scaled)
        latents, again = (
            autoencoders.encode(network, x).reshape(len(samples), -1).astype(np.float64) for x in (samples, output)
        )
        return Pathway(scaled, differences, latents, again)

    # --- X ---------------------------------------------------------------------------------------------------

    def _read_samples(self, X: ArrayLike) -> Array:  # noqa: N803
        """X of a fitted estimator as samples."""
        check_is_fitted(self)
        return self._to_samples(self._check_rows(X, is_fit=False))

    def _check_rows(self, X: Any, *, is_fit: bool) -> Array:  # noqa: N803
        """X as rows [N,D]; pictures are flattened, and `fit` remembers their shape. Raises ValueError."""
        shape: tuple[int, ...] | None = None
        if getattr(X, "ndim", 2) > 2:
            X = np.asarray(X)  # noqa: N806
            shape = X.shape[1:]
            X = X.reshape(len(X), -1)  # noqa: N806
        dtypes = [np.float64, np.float32, np.uint8]  # others become the first
        rows: Array = validate_data(
            self, X, dtype=dtypes, reset=is_fit, ensure_min_samples=LEAST_SAMPLES if is_fit else 1
        )
        if not is_fit:
            if shape not in (None, self.sample_shape_):
                raise ValueError(f"X has samples of {shape}; fit had {self.sample_shape_}")
            return rows
        picture = self.image_shape if shape is None else shape
        self.sample_shape_: tuple[int, ...] = rows.shape[1:] if shape is None else shape
        self.picture_shape_: tuple[int, ...] | None = None
        self.white_ = WHITE
        if picture is not None:
            picture = (*picture, 1) if len(picture) == 2 else tuple(picture)
            if len(picture) != 3 or picture[2] not in (1, 3) or math.prod(picture) != rows.shape[1]:
                raise ValueError(
                    f"pictures of {picture} do not fit {rows.shape[1]} features: give (H,W), or (H,W,C) with 1 or 3 "
                    "channels last"
                )
            self.picture_shape_ = picture
            self.white_ = 1 if rows.dtype.kind == "f" and rows.max() <= 1 else WHITE
        return rows

    def _to_samples(self, rows: Array) -> Array:
        """Rows as the network gets them: float64 [N,D], or uint8 [N,H,W,C]. Raises ValueError."""
        if self.picture_shape_ is None:
            return rows.astype(np.float64)
        low, high = float(rows.min()), float(rows.max())
        if low < 0 or high > self.white_:
            raise ValueError(
                f"X has pixels from {low:.6g} to {high:.6g}; they are 0 to {self.white_} here. Scale them alike, "
                "or give rows without image_shape: numbers of any range"
            )
        pixels = rows if rows.dtype == np.uint8 and self.white_ == WHITE else np.rint(rows * (WHITE / self.white_))
        return np.ascontiguousarray(pixels.reshape(-1, *self.picture_shape_), np.uint8).copy()
