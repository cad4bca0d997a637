"""Choice of the score by which a package calls samples unusual.

train -> components fitted        validation -> damaged samples -> AUROC of each candidate -> the best
test -> quantiles of its score -> manifest, score.npz

AUROC: the share of pairs of a normal and a damaged sample whose scores stand in the right order; the mean over all ways
to damage (training.evaluation.anomalies). `made-anomalies` is trained on damaged samples itself: for the comparison, on
other ways to damage than those by which it is measured.
"""

import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier

from service.model.files.array_files import to_bytes
from service.model.manifest import QUANTILES, Component, ScoreFile
from service.model.measures import scores
from service.model.measures.scores import ANY_SIZE, COMPONENTS, Pathway, Score
from service.model.measures.standard_units import StandardUnits
from service.model.package import sha256
from service.model.runtime import Model
from training.architectures.standardization import measure_units
from training.errors import TrainingError
from training.evaluation.anomalies import make_anomalies

Array = NDArray[Any]
Floats = NDArray[np.float64]
Arrays = dict[str, Array]
Pairs = dict[str, tuple[Floats, Floats]]
"""Way to damage -> values of a component of the normal samples, and of those damaged in that way, each [N]."""

FILE_NAME = "score.npz"
MOST_TRAINED, MOST_VALIDATED, MOST_TESTED = 5000, 1000, 10_000  # samples
MOST_DRAWN_NUMBERS, LEAST_DRAWN = 1 << 23, 50  # of all samples of a split; samples
REFERENCES = 500  # samples whose latents, or that themselves, are stored
MOST_LATENTS = 512  # numbers of a latent, beyond which only errors are compared
MOST_NUMBERS = 1 << 20  # of all axes of `pathway`, and of stored references
AXES = 64
UNIT_RATIO = 20  # of the ninth decile of columns' deviations to the first, at most, if they have one unit
GROUPS = 7  # of ways to damage, for made-anomalies
LEAST_LEARNED = 1000  # samples that are no references, from which its network is trained
MOST_FEATURES = 1 << 20  # numbers of the features of samples that are damaged in one way: 120 MB in all
NETWORKS = 2  # of which the mean is taken
HIDDEN, EPOCHS, DECAY = 256, 16, 0.3  # of its network
AT_ONCE = 256  # samples in one run


def choose(
    model: Model, train: Array, validation: Array, test: Array, seed: int = 0, wanted: Component | None = None
) -> tuple[ScoreFile, bytes]:
    """The best score of a model, and the bytes of its file.

    Args:
        model: with encoder and decoder.
        train, validation, test: samples as stored, uint8 [N,H,W,C] or float64 [N,D].
        wanted: this score, whatever is best; `made-anomalies` has a file of half a megabyte.
    Raises:
        ModelFailed: a graph fails on a damaged sample.
        TrainingError: the model cannot have the score `wanted`.
    """
    generator = np.random.default_rng(seed)
    train, validation, test = (
        _draw(samples, most, generator)
        for samples, most in ((train, MOST_TRAINED), (validation, MOST_VALIDATED), (test, MOST_TESTED))
    )
    normal = trace(model, train)
    parameters = fit_components(normal, model.units)
    learner: Learner | None = None
    is_learned = wanted in (None, "made-anomalies") and len(train) >= REFERENCES + LEAST_LEARNED
    if is_learned and has_latents(normal):
        stored = {**_nest(parameters), "deviation": latent_deviation(normal.latents)}
        floats = _as_floats(stored)
        others = train[REFERENCES:]  # that are no references
        usual = scores.network_features(trace(model, others), floats)
        learned = {
            way: scores.network_features(trace(model, samples), floats)
            for way, samples in _damage(model, others[: MOST_FEATURES // usual.shape[1]], generator)
        }
        learner = Learner(stored, usual, learned)
        parameters["made-anomalies"] = fit_network(learner, (), generator)
    held_out = trace(model, validation)
    values = _compute_values(model, validation, held_out, parameters, learner, generator)
    chosen, auroc = compare(values)
    if wanted is not None:
        if wanted not in parameters:
            raise TrainingError(f"the model has no score {wanted}; there are: {', '.join(parameters)}")
        chosen = (wanted,)
    arrays = {f"{name}.{key}": array for name in chosen for key, array in parameters[name].items()}
    if len(chosen) > 1:
        for name in chosen:
            own = COMPONENTS[name](held_out, _as_floats(parameters[name]))
            arrays[f"{name}.quantiles"] = np.quantile(own, np.linspace(0, 1, QUANTILES))
    data = to_bytes(arrays)
    quantiles = np.quantile(Score(chosen, arrays).compute(trace(model, test)), np.linspace(0, 1, QUANTILES))
    entry = ScoreFile(
        components=chosen,
        file=FILE_NAME,
        sha256=sha256(data),
        quantiles=tuple(float(f"{value:.7g}") for value in quantiles),
        samples=len(test),
        auroc={name: round(value, 4) for name, value in auroc.items()},
    )
    return entry, data


def trace(model: Model, samples: Array) -> Pathway:
    """What scores are computed from, of samples as stored."""
    needs_latents = _has_one_size(model)
    parts = []
    for start in range(0, len(samples), AT_ONCE):
        batch = np.ascontiguousarray(samples[start : start + AT_ONCE], model.sample.dtype)
        parts.append(model.trace_pathway(batch, model.reconstruct(batch).output, needs_latents))
    names = ("samples", "differences", "latents", "latents_again")
    return Pathway(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def has_latents(pathway: Pathway) -> bool:
    """Whether the latents are few enough, and there are any."""
    return bool(0 < pathway.latents.shape[1] <= MOST_LATENTS)


def fit_components(normal: Pathway, units: StandardUnits | None) -> dict[Component, Arrays]:
    """Parameters of every component but `made-anomalies`, fitted on training samples; the first are references.

    `units`: of the columns of vectors.
    """
    parameters: dict[Component, Arrays] = {name: {} for name in COMPONENTS if name in ANY_SIZE}
    if normal.samples.ndim == 2:  # the energy of a vector is its distance from the mean, itself a sign of an anomaly
        del parameters["error-by-energy"]
    if normal.latents.shape[1]:  # samples have one size
        inputs = scores.input_features(normal.samples)
        count = min(REFERENCES, MOST_NUMBERS // inputs.shape[1])
        if count > scores.NEIGHBOURS:
            weights = _weigh_columns(units)
            parameters["input-neighbours"] = {
                "references": _shorten(inputs[:count] * weights.get("weights", 1)),
                **weights,
            }
    if not has_latents(normal):
        return parameters
    latents = normal.latents
    deviation = latent_deviation(latents)
    shrunk = LedoitWolf().fit(latents / deviation)
    whitening = np.linalg.cholesky(shrunk.precision_) / deviation[:, None]
    parameters["latent-distance"] = {"mean": latents.mean(axis=0), "whitening": whitening}
    count = min(REFERENCES, MOST_NUMBERS // latents.shape[1])
    parameters["latent-neighbours"] = {
        "references": _shorten((latents / deviation)[:count]),
        "deviation": deviation,
    }
    pathway = _fit_pathway(scores.pathway_features(normal))
    if pathway is not None:
        parameters["pathway"] = pathway
    return parameters


def _weigh_columns(units: StandardUnits | None) -> Arrays:
    """Weights [D] of columns in standard deviations, with which distances are in the columns' own unit; none of others.

    Columns whose deviations are alike, within UNIT_RATIO, are taken to have one unit, as those of a signal have: a
    column that hardly varies then counts little. On scikit-learn's digits (64 columns; each class against the others)
    that raises the mean AUROC from 0.981 to 0.998; of wine and breast cancer, whose columns have units of their own,
    it would lower it from 0.985 to 0.889 and from 0.875 to 0.839.
    """
    deviations = np.zeros(0) if units is None else units.deviation[~units.is_constant]
    if not len(deviations) or units is None:
        return {}
    low, high = np.quantile(deviations, (0.1, 0.9))
    if high > UNIT_RATIO * low:
        return {}
    return {"weights": units.deviation / np.sqrt(np.mean(deviations**2))}


def latent_deviation(latents: Floats) -> Floats:
    """Standard deviation of each number of the latent [L]; of those that hardly vary the mean one."""
    deviation = latents.std(axis=0)
    mean = float(deviation.mean()) or 1.0
    return np.where(deviation > 1e-3 * mean, deviation, mean)


def _fit_pathway(features: Floats) -> Arrays | None:
    """The largest principal axes of `features` [N,M]; None if not even a few can be stored."""
    count = min(AXES, MOST_NUMBERS // features.shape[1], len(features) - 2, features.shape[1] - 1)
    if count < 1:
        return None
    fitted = PCA(count, svd_solver="randomized", random_state=0).fit(features)
    total = float(features.var(axis=0).sum())
    rest = (total - float(fitted.explained_variance_.sum())) / (features.shape[1] - count)
    floor = 1e-6 * total / features.shape[1] or 1e-12
    return {
        "mean": _shorten(fitted.mean_),
        "axes": _shorten(fitted.components_),
        "variance": np.maximum(fitted.explained_variance_, floor),
        "rest": np.array(max(rest, floor)),
    }


@dataclass(frozen=True)
class Learner:
    """What the network of `made-anomalies` is trained from.

    Args:
        stored: parameters of its features (service.model.measures.scores.network_features), as the file has them.
        usual: features of normal samples [N,F].
        learned: of damaged ones, by the way in which they were damaged, each [N,F].
    """

    stored: Arrays
    usual: Floats
    learned: dict[str, Floats]


def fit_network(
    learner: Learner, ways_left_out: Collection[str], generator: np.random.Generator, count_of_networks: int = NETWORKS
) -> Arrays:
    """Networks of one hidden layer that tell normal samples from damaged ones, twice as many, as one network."""
    usual = learner.usual
    unusual = np.concatenate([rows for way, rows in learner.learned.items() if way not in ways_left_out])
    mean, scale = unusual.mean(axis=0), unusual.std(axis=0)
    scale = np.where(scale > 0, scale, 1)
    networks = []
    for _ in range(count_of_networks):
        chosen = np.concatenate([usual, unusual[generator.permutation(len(unusual))[: 2 * len(usual)]]])
        truth = np.repeat([0, 1], [len(usual), len(chosen) - len(usual)])
        network = MLPClassifier(
            (HIDDEN,), alpha=DECAY, max_iter=EPOCHS, n_iter_no_change=EPOCHS + 1,
            random_state=int(generator.integers(1 << 31)),
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it is stopped early on purpose
            network.fit(((chosen - mean) / scale).clip(-scores.LARGEST_FEATURE, scores.LARGEST_FEATURE), truth)
        networks.append(network)
    count = usual.shape[1] - 3 * len(learner.stored["deviation"])
    return {
        **learner.stored,
        "mean": mean,
        "scale": scale,
        "hidden": _shorten(np.hstack([network.coefs_[0] for network in networks])),
        "hidden_bias": np.concatenate([network.intercepts_[0] for network in networks]),
        "output": np.concatenate([network.coefs_[1][:, 0] for network in networks]) / count_of_networks,
        "bias": np.array(np.mean([network.intercepts_[1][0] for network in networks])),
        "largest": usual[:, -count:].max(axis=0),
    }


def _nest(parameters: Mapping[Component, Arrays]) -> Arrays:
    return {f"{name}.{key}": array for name, own in parameters.items() for key, array in own.items()}


def _shorten(array: Floats) -> Array:
    """In half the bytes, or a quarter, where the numbers allow it."""
    return array.astype(np.float16 if np.abs(array).max(initial=0) < 1e4 else np.float32)


# --- comparison ------------------------------------------------------------------------------------------


def compare(values: Mapping[Component, Pairs]) -> tuple[tuple[Component, ...], dict[str, float]]:
    """The component to go by, and the mean AUROC of each on damaged samples.

    It is `input-neighbours`, unless `made-anomalies` has a larger AUROC by a standard error. Where there are neither,
    it is the first component within a standard error of the best (Breiman et al., Classification and Regression Trees,
    1984): few validation samples cannot tell more.

    That distances are not compared by damaged samples was measured: on 22 tasks that no test is made of (one class is
    normal, the others are not) the distance that was best on damaged samples found less of the other classes than
    `input-neighbours` did (benchmarks/README.md).
    """
    auroc = {name: _mean_auroc(pairs) for name, pairs in values.items()}
    best = max(auroc.values())
    count_of_normal = len(next(iter(next(iter(values.values())).values()))[0])
    standard_error = float(np.sqrt(best * (1 - best) / count_of_normal))
    chosen: Component = next(name for name in auroc if auroc[name] >= best - standard_error)
    if "input-neighbours" in auroc:
        is_learned_better = auroc.get("made-anomalies", 0) > auroc["input-neighbours"] + standard_error
        chosen = "made-anomalies" if is_learned_better else "input-neighbours"
    return (chosen,), {str(name): value for name, value in auroc.items()}


def _mean_auroc(pairs: Pairs) -> float:
    """The mean over all ways to damage."""
    return float(
        np.mean(
            [
                roc_auc_score(np.repeat([0, 1], [len(normal), len(damaged)]), np.concatenate([normal, damaged]))
                for normal, damaged in pairs.values()
            ]
        )
    )


def _compute_values(
    model: Model,
    validation: Array,
    held_out: Pathway,
    parameters: Mapping[Component, Arrays],
    learner: Learner | None,
    generator: np.random.Generator,
) -> dict[Component, Pairs]:
    """Values of every component; of networks, of such as were trained on other ways to damage than this one."""
    floats = {name: _as_floats(own) for name, own in parameters.items()}
    usual = {name: COMPONENTS[name](held_out, floats[name]) for name in floats if name != "made-anomalies"}
    values: dict[Component, Pairs] = {name: {} for name in parameters}
    networks: list[tuple[dict[str, Floats], Floats]] = []
    if learner is not None:
        features = scores.network_features(held_out, floats["made-anomalies"])
        for group in range(GROUPS):
            network = _as_floats(fit_network(learner, list(learner.learned)[group::GROUPS], generator, 1))
            networks.append((network, scores.run_network(features, network)))
    for index, (way, samples) in enumerate(_damage(model, validation, generator)):
        damaged = trace(model, samples)
        for name, normal in usual.items():
            values[name][way] = normal, COMPONENTS[name](damaged, floats[name])
        if networks:
            network, normal = networks[index % GROUPS]
            values["made-anomalies"][way] = normal, COMPONENTS["made-anomalies"](damaged, network)
    return values


def _damage(model: Model, samples: Array, generator: np.random.Generator) -> Iterator[tuple[str, Array]]:
    """Yields the way in which samples were damaged, and those samples, as stored."""
    if model.modality == "image":
        yield from make_anomalies(samples, generator)
        return
    units = model.units or measure_units(samples)
    for way, vectors in make_anomalies(units.standardize(samples), generator):
        yield way, units.restore(vectors)


def _has_one_size(model: Model) -> bool:
    return bool(model.sample_size and model.latent_size)


def _draw(samples: Array, most: int, generator: np.random.Generator) -> Array:
    """At most so many, in random order; fewer of large ones."""
    most = min(most, max(LEAST_DRAWN, MOST_DRAWN_NUMBERS // samples[0].size))
    return samples[generator.permutation(len(samples))[:most]]


def _as_floats(parameters: Arrays) -> dict[str, Floats]:
    return {name: np.asarray(array, np.float64) for name, array in parameters.items()}
