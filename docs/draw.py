"""Draws the pictures of these documents from the shipped models: python docs/draw.py [FOLDER]

service/web/static/drawings.png (used to train no model) -> models/ -> kinds.png, noise.png, walk.png
docs/scan.png, docs/noisy-photo.jpg                     -> models/ -> front.jpg
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.autoencoder import Autoencoder
from service.model import package
from service.model.runtime import Model
from training.evaluation.figures import draw_rows

ROOT = Path(__file__).parents[1]
SIDE = 28
LEVELS = (0.1, 0.25, 0.5)  # standard deviations of the noise, pixels in 0..1
STEPS = 10
HEIGHT, GAP = 300, 8  # of front.jpg

Images = NDArray[np.uint8]


def draw(folder: Path) -> None:
    """Write all pictures into `folder`."""
    drawings = np.asarray(Image.open(ROOT / "service" / "web" / "static" / "drawings.png"))
    samples = np.stack(np.split(drawings, drawings.shape[1] // SIDE, axis=1))[..., None]  # [N,28,28,1]
    front().save(folder / "front.jpg", quality=88)
    for name, drawing in (("kinds", kinds(samples)), ("noise", noise(samples)), ("walk", walk(samples))):
        (folder / f"{name}.png").write_bytes(drawing.picture)


def front() -> Image.Image:
    """A page and a photograph, each as it was and as it came back, side by side."""
    shown: list[Image.Image] = []
    for name, file, mode in (("pages", "scan.png", "RGB"), ("photos", "noisy-photo.jpg", "RGB")):
        before = np.asarray(Image.open(ROOT / "docs" / file).convert(mode)).reshape(1, *_size(file), -1)
        with Autoencoder(ROOT / "models" / name, provider="cpu", precision="fp32") as autoencoder:
            after = autoencoder.denoise(before)
        for image in (before[0], after[0]):
            picture = Image.fromarray(image.squeeze())
            shown.append(picture.crop((0, 0, picture.width * 3 // 5, picture.height)))
    shown = [picture.resize((picture.width * HEIGHT // picture.height, HEIGHT)) for picture in shown]
    whole = Image.new("RGB", (sum(p.width + GAP for p in shown) - GAP, HEIGHT), "white")
    left = 0
    for picture in shown:
        whole.paste(picture, (left, 0))
        left += picture.width + GAP
    return whole


def kinds(samples: Images) -> bytes:
    """Drawings, and for each architecture the 32 numbers that it keeps of them and what it draws from these."""
    lines: list[tuple[str, NDArray[np.generic]]] = [("drawing", samples)]
    for name in ("cats-undercomplete", "cats-stacked", "cats-convolutional"):
        model = _model(name)
        latents = model.encode(samples)
        lines += [(f"{name.removeprefix('cats-')}\n32 numbers", latents), ("drawn", model.decode(latents))]
    return draw_rows(lines)


def noise(samples: Images) -> bytes:
    """Drawings with more and more noise, and what cats-denoising makes of them."""
    generator, model = np.random.default_rng(0), _model("cats-denoising")
    lines: list[tuple[str, NDArray[np.generic]]] = [("drawing", samples)]
    for level in LEVELS:
        added = samples + 255 * level * generator.standard_normal(samples.shape)
        noisy = added.clip(0, 255).round().astype(np.uint8)
        lines += [(f"noise {level}", noisy), ("denoised", model.denoise(noisy))]
    return draw_rows(lines)


def walk(samples: Images) -> bytes:
    """From one drawing to another: their latents mixed, and mixed pixels below for comparison."""
    model = _model("cats-convolutional")
    share = np.linspace(0, 1, STEPS, dtype=np.float32)[:, None]
    start, end = model.encode(samples[[0, 4]])
    first, last = samples[[0, 4]].astype(np.float32)
    pixels = (1 - share[..., None, None]) * first + share[..., None, None] * last
    return draw_rows(
        [("latents mixed", model.decode((1 - share) * start + share * end)), ("pixels mixed", pixels.astype(np.uint8))]
    )


def _model(name: str) -> Model:
    directory = package.newest_directory(ROOT / "models" / name)
    if directory is None:
        raise FileNotFoundError(f"models/{name} holds no package")
    return Model(package.read(directory), "cpu", precision="fp32")


def _size(file: str) -> tuple[int, int]:
    with Image.open(ROOT / "docs" / file) as image:
        return image.height, image.width


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs")
