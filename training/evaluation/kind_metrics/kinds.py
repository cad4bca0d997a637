"""Metrics and figures that depend on the kind of an autoencoder.

autoencoder, dataset -> measure -> metrics        draw -> figures for the card
"""

from collections.abc import Mapping

from service.model.manifest import Metric
from training.architectures.autoencoder import Autoencoder
from training.architectures.sparse import Sparse
from training.architectures.variational import Variational
from training.data.datasets import Dataset
from training.evaluation import autoencoders, figures
from training.evaluation.baselines.pca import Components
from training.evaluation.kind_metrics import sparse, variational
from training.evaluation.kind_metrics.contraction import measure_contraction
from training.evaluation.metrics import make_metric
from training.recipe import AutoencoderRecipe

DRAWN, WALKS, FEATURES = 40, 3, 60  # in figures


def measure(
    recipe: AutoencoderRecipe,
    autoencoder: Autoencoder,
    data: Dataset,
    components: Components | None,
    *,
    is_contractive: bool,
) -> dict[str, Metric]:
    """Metrics of the test split: those of all kinds, then those of this one.

    Args:
        components: of the train split, for PCA beside them; None: not.
        is_contractive: the encoder's Jacobian is measured too.
    """
    metrics = dict(autoencoders.measure(autoencoder, data, recipe.corruption, components))
    if isinstance(autoencoder, Variational):
        metrics |= variational.measure(recipe, autoencoder, data)
    if isinstance(autoencoder, Sparse):
        metrics |= sparse.measure(autoencoder, data, components)
    if is_contractive:
        value = measure_contraction(autoencoder, data)
        metrics["contraction"] = make_metric(value, "squared norm of the encoder's Jacobian", {})
    return metrics


def draw(
    autoencoder: Autoencoder,
    data: Dataset,
    seed: int,
    others: Mapping[str, Autoencoder],
    components: Components | None,
) -> figures.Figures:
    """Figures that only the kind has: file name -> (caption, PNG); `others` are ablations by name, for walks."""
    drawings = {}
    if isinstance(autoencoder, Variational):
        drawn = variational.draw_from_prior(autoencoder, DRAWN, seed)
        drawings["samples.png"] = ("Drawn from the prior, none selected", figures.draw_grid(drawn))
        networks = {"this model": autoencoder, **others}
        walks = [
            (label, variational.walk(network, first, second, figures.COLUMNS))
            for first, second in variational.choose_walks(data.test, WALKS)
            for label, network in networks.items()
        ]
        drawings["walks.png"] = (
            "Walks on a straight line between the latents of two held-out samples",
            figures.draw_rows(walks),
        )
    if isinstance(autoencoder, Sparse):
        shown, shares = sparse.feature_pictures(autoencoder, data, FEATURES)
        drawings["features.png"] = (
            "What each of the most frequent features adds to a sample, and the share of held-out samples that have it",
            figures.draw_features(shown, shares),
        )
        curves = [
            ("this model", sparse.explain_by_features(autoencoder, data, sparse.curve_sizes(autoencoder.count))),
            *([] if components is None else [("PCA", sparse.explain_by_pca(components, data))]),
        ]
        drawings["explained_variance.png"] = (
            "Explained variance when only the largest features of a sample are kept",
            figures.draw_explained_variance(curves),
        )
    return drawings
