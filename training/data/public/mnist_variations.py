"""Variations of MNIST after Larochelle et al.: `source = "mnist-basic"`, `"mnist-rot"` and `"mnist-bg-rand"`.

MNIST's 70,000 digits -> a fixed order -> 10,000 train, 2,000 validation, 50,000 test -> rotated, or on noise

Larochelle et al., "An Empirical Evaluation of Deep Architectures on Problems with Many Factors of Variation" (ICML
2007), section 3; the sets of Table 3 of Vincent et al., JMLR 11 (2010). The digits are not the same as theirs: the
papers do not say which they drew. Noise replaces a pixel where it is lighter than the ink.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.public import idx, mnist

SETS = ("mnist-basic", "mnist-rot", "mnist-bg-rand")
SIZES = (10_000, 2_000, 50_000)  # train, validation, test


def load(source: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Images uint8 [N,28,28], their split (0 train, 1 validation, 2 test) and labels 0..9, uint8 [N] each.

    Raises:
        DataError, DownloadError, DiskError: MNIST cannot be read or fetched.
    """
    images, labels = np.concatenate(idx.read_folder(mnist.fetch_folder())), np.concatenate(mnist.read_labels())
    generator = np.random.default_rng(2007)
    order = generator.permutation(len(images))[: sum(SIZES)]
    split = np.repeat(np.arange(3, dtype=np.uint8), SIZES)[: len(order)]
    return vary_images(images[order], source, generator), split, labels[order]


def vary_images(images: NDArray[np.uint8], source: str, generator: np.random.Generator) -> NDArray[np.uint8]:
    """uint8 [N,H,W] -> uint8 [N,H,W]: unchanged ("mnist-basic"), each rotated by U(0, 360) degrees, or on noise
    U(0, 255)."""
    if source == "mnist-rot":
        return np.stack([_rotate(image, generator.uniform(0, 360)) for image in images])
    if source == "mnist-bg-rand":
        return np.asarray(np.maximum(images, generator.integers(0, 256, images.shape, np.uint8)), np.uint8)
    return images


def _rotate(image: NDArray[np.uint8], degrees: float) -> NDArray[np.uint8]:
    """uint8 [H,W], about its centre; what comes from outside is 0."""
    height, width = image.shape
    rotation = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1)
    return np.asarray(cv2.warpAffine(image, rotation, (width, height), flags=cv2.INTER_LINEAR), np.uint8)
