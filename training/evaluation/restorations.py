"""Pictures of restorations: held-out images before and after a denoiser, and the parts that came out worst.

restore, images -> rows: noisy, denoised, clean -> figures
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.data.patches import EvaluationImage
from training.evaluation import denoisers, figures
from training.evaluation.denoisers import Restore, to_uint8
from training.evaluation.metrics import mse

FAILURE_COUNT = 4  # groups whose worst image is shown
DARK = 160  # of 255: the brightest pixels of a picture that is shown brighter than it is
FAILURE_SIZE = (160, 420)  # height and width of the part that is shown

Image = NDArray[np.uint8]  # [H,W,C]
Row = tuple[str, Image, Image, Image]
"""Group, then noisy, denoised, clean: uint8 [H,W,C]."""


def draw_figures(
    restore_image: Restore, images: Sequence[EvaluationImage], *, has_clean: bool = True
) -> figures.Figures:
    """Figures of a model card: file name -> (caption, WebP).

    `has_clean`: whether there are clean images to show; without them the other noisy version, if there is one.
    """
    if not has_clean:
        return _draw_noisy_images(restore_image, images[:FAILURE_COUNT])
    first_of_groups: dict[str, EvaluationImage] = {}
    for image in images:
        first_of_groups.setdefault(image.group, image)
    examples = list(first_of_groups.values()) if len(first_of_groups) > 1 else list(images[:4])
    rows = [_restore_row(restore_image, image) for image in examples]
    failures = [crop_worst_part(*row) for row in _worst_rows(restore_image, images)]
    return {
        "before-after.webp": (
            "Held-out images: noisy, denoised, and the clean original",
            figures.draw_before_after(rows),
        ),
        "failures.webp": (
            "Where it fails: the parts of held-out images that came out worst; noisy, denoised, and the clean original",
            figures.draw_before_after(failures),
        ),
    }


def _draw_noisy_images(restore_image: Restore, images: Sequence[EvaluationImage]) -> figures.Figures:
    rows = []
    for image in images:
        noisy = image.clean if image.noisy is None else image.noisy
        views = (noisy, restore_image(noisy), *(() if image.noisy is None else (image.clean,)))
        rows.append((image.group, *[_brighten(to_uint8(view), to_uint8(noisy)) for view in views]))
    titles = ("noisy", "denoised", "the other exposure")[: len(rows[0]) - 1]
    picture = figures.draw_before_after(rows, titles=titles)
    return {"before-after.webp": ("Held-out images: noisy and denoised; there are no clean ones", picture)}


def _restore_row(restore_image: Restore, image: EvaluationImage) -> Row:
    """The image with its noisy version, the middle one if there are several, and what the denoiser makes of it."""
    versions = denoisers.noisy_versions(image)
    noisy = versions[len(versions) // 2]
    noisy, restored, clean = (to_uint8(view) for view in (noisy, restore_image(noisy), image.clean))
    if image.clean.dtype == np.uint16:
        noisy, restored, clean = (_brighten(view, noisy) for view in (noisy, restored, clean))
    return image.group, noisy, restored, clean


def _brighten(image: Image, reference: Image) -> Image:
    """Stretched so that the brightest pixels of `reference` are white: pictures of instruments are often dark."""
    white = max(1.0, float(np.percentile(reference, 99.8)))
    return image if white > DARK else np.rint(image * (255 / white)).clip(0, 255).astype(np.uint8)


def _worst_rows(restore_image: Restore, images: Sequence[EvaluationImage]) -> list[Row]:
    """The image of largest error of each group, at most FAILURE_COUNT of them, the worst first."""
    worst: dict[str, tuple[float, Row]] = {}
    for image in images:
        row = _restore_row(restore_image, image)
        error = mse(row[2], row[3])
        if error > worst.get(image.group, (-1.0, row))[0]:
            worst[image.group] = error, row
    return [row for _, row in sorted(worst.values(), key=lambda entry: -entry[0])[:FAILURE_COUNT]]


def crop_worst_part(group: str, noisy: Image, restored: Image, clean: Image) -> Row:
    """The part of FAILURE_SIZE (height, width) with the largest error, found by a summed-area table."""
    errors = np.square(restored.astype(np.float32) - clean).mean(-1)  # [H,W]
    height, width = (min(limit, size) for limit, size in zip(FAILURE_SIZE, errors.shape, strict=True))
    table = np.pad(errors.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    sums = table[height:, width:] - table[:-height, width:] - table[height:, :-width] + table[:-height, :-width]
    y, x = (int(index) for index in np.unravel_index(sums.argmax(), sums.shape))
    noisy, restored, clean = (image[y : y + height, x : x + width] for image in (noisy, restored, clean))
    return group, noisy, restored, clean
