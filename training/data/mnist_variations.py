"""Sets of Larochelle et al. made again from MNIST: `source = "mnist-basic"`, `"mnist-rot"` and `"mnist-bg-rand"`.

MNIST's 70,000 digits -> a fixed order -> 10,000 train, 2,000 validation, 50,000 test -> turned, or on noise

Larochelle et al., "An Empirical Evaluation of Deep Architectures on Problems with Many Factors of Variation" (ICML
2007), section 3; the sets of Table 3 of Vincent et al., JMLR 11 (2010). The digits are other ones than theirs: which
they drew is not known from the papers. Noise is where it is lighter than the ink.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data import idx, mnist

SETS = ("mnist-basic", "mnist-rot", "mnist-bg-rand")
SIZES = (10_000, 2_000, 50_000)  # train, validation, test


def load(source: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Images uint8 [N,28,28], their split (0 train, 1 validation, 2 test) and labels 0..9, uint8 [N] each.

    Raises:
        DataError, DownloadError, DiskError: MNIST is not there.
    """
    images, labels = np.concatenate(idx.read_folder(mnist.folder())), np.concatenate(mnist.labels())
    generator = np.random.default_rng(2007)
    chosen = generator.permutation(len(images))[: sum(SIZES)]
    split = np.repeat(np.arange(3, dtype=np.uint8), SIZES)[: len(chosen)]
    return changed(images[chosen], source, generator), split, labels[chosen]


def changed(images: NDArray[np.uint8], source: str, generator: np.random.Generator) -> NDArray[np.uint8]:
    """`images` uint8 [N,H,W] as they are ("mnist-basic"), each turned by U(0, 360) degrees, or on noise U(0, 255)."""
    if source == "mnist-rot":
        return np.stack([_turned(image, generator.uniform(0, 360)) for image in images])
    if source == "mnist-bg-rand":
        return np.asarray(np.maximum(images, generator.integers(0, 256, images.shape, np.uint8)), np.uint8)
    return images


def _turned(image: NDArray[np.uint8], degrees: float) -> NDArray[np.uint8]:
    height, width = image.shape
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    return np.asarray(cv2.warpAffine(image, turn, (width, height), flags=cv2.INTER_LINEAR), np.uint8)
