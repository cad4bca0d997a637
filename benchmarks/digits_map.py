"""`python -m benchmarks.digits_map PACKAGE`: test digits by two numbers, of an autoencoder and of PCA, side by side.

package of 2 numbers, MNIST test -> latents | first two principal components -> one figure, a colour for each digit

Hinton & Salakhutdinov, Science 313 (2006), Fig. 3. The package is made by
`autoencoder-train digits-deep --latent-dim 2 --set optimization.epochs=30 --out models/digits-two`.
Below each map stands how many of the points have the same digit as their nearest neighbour in the map.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from service.model.package import read
from service.model.runtime import Model
from training.data import datasets
from training.data.public import mnist
from training.evaluation import figures
from training.evaluation.baselines import pca
from training.recipe import AutoencoderData

SHOWN = 5000  # of the 10,000 test digits, the first


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.digits_map", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("package", type=Path, metavar="models/NAME/VERSION")
    parser.add_argument("--out", type=Path, default=Path("docs/digits-map.png"), help="(default: %(default)s)")
    asked = parser.parse_args(arguments)
    opened = read(asked.package.absolute())
    if opened.latent is None or opened.latent.shape[1:] != (2,):
        sys.stderr.write("benchmarks.digits_map: the package's latent must be 2 numbers\n")
        return 2
    data, labels = datasets.load(AutoencoderData(source="mnist")), mnist.read_labels()[1]
    components = pca.fit(data.train, 2)
    if components is None:
        raise AssertionError("This is a bug: digits have more than two numbers")
    maps: dict[str, NDArray[np.floating]] = {
        "First two principal components": components.project(data.test, 2),
        f"784-1000-500-250-2 autoencoder ({opened.manifest.name})": Model(opened, "cpu").encode(data.test),
    }
    asked.out.write_bytes(figures.encode_figure(figure(maps, labels), "png"))
    return 0


def figure(maps: dict[str, NDArray[np.floating]], labels: NDArray[np.uint8]) -> Figure:
    drawn = Figure(figsize=(11, 5.8), dpi=100, facecolor="white", layout="constrained")
    for axis, (title, places) in zip(drawn.subplots(1, len(maps)), maps.items(), strict=True):
        for digit in range(10):
            x, y = places[:SHOWN][labels[:SHOWN] == digit].T
            axis.plot(x, y, ".", markersize=2.5, color=colormaps["tab10"](digit), label=str(digit))
        figures.style_axis(axis, title, f"same digit as nearest neighbour: {agreement(places, labels):.1%}", "")
        low, high = np.quantile(places, [0.002, 0.998], axis=0)
        axis.set(xticks=[], yticks=[], xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    drawn.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=10, markerscale=5, frameon=False)
    return drawn


def agreement(places: NDArray[np.floating], labels: NDArray[np.uint8]) -> float:
    """Share of points whose nearest other point has the same label."""
    nearest = NearestNeighbors(n_neighbors=1).fit(places).kneighbors(return_distance=False)[:, 0]
    return float(np.mean(labels[nearest] == labels))


if __name__ == "__main__":
    sys.exit(main())
