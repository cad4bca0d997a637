"""`python -m benchmarks.fine_tuning`: what `autoencoder-train photos --from models/photos --data` makes of pictures.

a device (camera, microscope) -> 30 noisy pictures, and 12 others with their clean versions -> the command, literally,
on noisy pictures alone, on two exposures, on pairs -> the 12, denoised as the service does -> table

The devices are made here, with fixed seeds, of photographs that the shipped model was not trained on, and of drawn
cells. The camera's noise is correlated in space; the microscope's is not, and its pictures have 16 bits. Settings were
chosen with other seeds, on other photographs; the 12 pictures are measured only.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from service.autoencoder import Autoencoder
from training.data.datasets import find_path

Image = NDArray[Any]  # uint8 [H,W,3] or uint16 [H,W]
Floats = NDArray[np.float64]
PICTURES, TEST_PICTURES = 30, 12
SIDE = 320  # pixels of a microscope's picture


@dataclass(frozen=True)
class Exposure:
    """A scene as a device gives it: twice with noise, and what the mean of very many such pictures would be."""

    noisy: Image
    again: Image
    clean: Image


# --- a camera: sensor with a Bayer mosaic, bilinear demosaicing, tone curve, sharpening, JPEG ---------------

GAINS = np.array([2.0, 1.0, 1.6])
FULL_WELL, READ_NOISE, ROW_NOISE = 260.0, 2.2, 0.7  # electrons: a small sensor in little light
QUALITY = 93
AVERAGED = 24  # exposures whose mean counts as clean, as for real cameras: tone curve and clipping shift it


def photograph(scene: Image, rng: np.random.Generator) -> Exposure:
    """uint8 [H,W,3], even sides, a photograph without visible noise -> the same through the camera."""
    light = (scene / 255.0) ** 2.2 / GAINS
    cells = light[..., 1].copy()
    cells[::2, ::2], cells[1::2, 1::2] = light[::2, ::2, 0], light[1::2, 1::2, 2]

    def expose() -> Floats:
        electrons = rng.poisson(cells * FULL_WELL) + READ_NOISE * rng.standard_normal(cells.shape)
        return np.asarray((electrons + ROW_NOISE * rng.standard_normal((len(cells), 1))) / FULL_WELL)

    noisy, again = (_compress(_develop(expose())) for _ in range(2))
    clean = np.mean([_develop(expose()) for _ in range(AVERAGED)], axis=0)
    return Exposure(noisy, again, np.rint(clean).astype(np.uint8))


def _develop(raw: Floats) -> Image:
    stored = np.rint(raw * 40_000 + 8_000).clip(0, 65_535).astype(np.uint16)
    colours = (cv2.cvtColor(stored, cv2.COLOR_BayerRGGB2RGB).astype(np.float64) - 8_000) / 40_000
    picture = (colours * GAINS).clip(0, 1) ** (1 / 2.2)
    picture += 0.5 * (picture - cv2.GaussianBlur(picture, (0, 0), 1.0))
    return np.asarray(np.rint(picture.clip(0, 1) * 255), np.uint8)


def _compress(picture: Image) -> Image:
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1])


# --- a microscope: cells that glow, few photons, an offset, 16 bits ----------------------------------------

OFFSET, COUNTS_PER_ELECTRON, CAMERA_READ_NOISE = 100.0, 2.2, 1.6


def look_at_cells(rng: np.random.Generator) -> Exposure:
    """uint16 [SIDE,SIDE]: nuclei, fibres and grains behind a lens that blurs; 5 to 120 electrons a pixel."""
    glow = np.zeros((SIDE, SIDE))
    for _ in range(int(rng.integers(8, 16))):
        centre, axes = tuple(map(int, rng.integers(0, SIDE, 2))), tuple(map(int, rng.integers(14, 34, 2)))
        nucleus = np.zeros_like(glow)
        cv2.ellipse(nucleus, centre, axes, float(rng.uniform(0, 180)), 0, 360, float(rng.uniform(25, 70)), -1)
        texture = cv2.GaussianBlur(rng.standard_normal(glow.shape), (0, 0), 3)
        glow += nucleus * (1 + 0.35 * texture / texture.std()).clip(0.2)
    for _ in range(int(rng.integers(25, 45))):
        start, angle = rng.uniform(0, SIDE, 2), rng.uniform(0, 2 * np.pi)
        points = [start]
        for _ in range(12):
            angle += rng.normal(0, 0.25)
            points.append(points[-1] + 14 * np.array([np.cos(angle), np.sin(angle)]))
        fibre = np.zeros_like(glow)
        cv2.polylines(fibre, [np.rint(points).astype(np.int32)], False, float(rng.uniform(20, 60)), 1)
        glow += fibre
    for x, y in rng.integers(0, SIDE, (int(rng.integers(30, 80)), 2)):
        glow[y, x] += rng.uniform(100, 400)
    electrons = 5 + cv2.GaussianBlur(glow, (0, 0), 1.3)

    def expose() -> Image:
        count = rng.poisson(electrons) + CAMERA_READ_NOISE * rng.standard_normal(electrons.shape)
        return _store(count)

    return Exposure(expose(), expose(), _store(electrons))


def _store(electrons: NDArray[Any]) -> Image:
    return np.rint(OFFSET + COUNTS_PER_ELECTRON * electrons).clip(0, 65_535).astype(np.uint16)


# --- the table ---------------------------------------------------------------------------------------------

KINDS = {"noisy alone": ("noisy",), "two exposures": ("noisy", "noisy-2"), "pairs": ("noisy", "clean")}
"""Row of the table -> subfolders that the command gets."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fine_tuning", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--start", type=Path, default=Path("models/photos"), help="(default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=3, help="of each training (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("build/fine-tuning"), help="(default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=list(DEVICES), default=list(DEVICES))
    parser.add_argument("--figure", type=Path, help="also draw the pictures of docs/train.md: a PNG")
    options = parser.parse_args(arguments)
    rows, strips = [], []
    for device in options.only:
        exposures = DEVICES[device]()
        train, test = exposures[:PICTURES], exposures[PICTURES:]
        rows.append(_row(device, "noisy", [exposure.noisy for exposure in test], test, 0))
        shipped = denoise(options.start, [exposure.noisy for exposure in test])
        rows.append(_row(device, f"{options.start.name}, as shipped", shipped, test, 0))
        views = [test[0].noisy, shipped[0]]
        for kind, folders in KINDS.items():
            data = options.out / device / kind.replace(" ", "-")
            write(train, data, folders)
            package = options.out / "models" / f"{device}-{kind.replace(' ', '-')}"
            seconds = fine_tune(options.start, data, package, options.out / "runs", options.minutes)
            restored = denoise(package, [exposure.noisy for exposure in test])
            rows.append(_row(device, kind, restored, test, seconds))
            if kind == "noisy alone":
                views.append(restored[0])
            print(rows[-1], file=sys.stderr, flush=True)
        strips.append([*views, test[0].clean])
    print("| device | learned from | PSNR, dB | of the noise's energy left | minutes |")
    print("|---|---|---|---|---|")
    print("\n".join(rows))
    if options.figure is not None:
        draw(strips, options.figure)
    return 0


def camera() -> list[Exposure]:
    """Photographs of BSDS500's train and test folders, every ninth, through one camera."""
    rng = np.random.default_rng(2026)
    files = sorted((find_path("photos") / "train").glob("*.jpg"))[::9][: PICTURES + TEST_PICTURES]
    exposures = []
    for file in files:
        scene = np.asarray(cv2.imread(str(file), cv2.IMREAD_COLOR))[..., ::-1]
        exposures.append(photograph(scene[: len(scene) // 2 * 2, : scene.shape[1] // 2 * 2], rng))
    return exposures


def microscope() -> list[Exposure]:
    rng = np.random.default_rng(2026)
    return [look_at_cells(rng) for _ in range(PICTURES + TEST_PICTURES)]


DEVICES: dict[str, Callable[[], list[Exposure]]] = {"camera": camera, "microscope": microscope}


def write(exposures: Sequence[Exposure], folder: Path, subfolders: Sequence[str]) -> None:
    """PNG files `folder`/SUBFOLDER/N.png."""
    for name in subfolders:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, exposure in enumerate(exposures):
            picture = {"noisy": exposure.noisy, "noisy-2": exposure.again, "clean": exposure.clean}[name]
            cv2.imwrite(str(folder / name / f"{number:02}.png"), picture[..., ::-1] if picture.ndim == 3 else picture)


def fine_tune(start: Path, data: Path, package: Path, runs: Path, minutes: float) -> float:
    """Seconds of the command, which leaves a new version of `package`; one thread."""
    command = [
        sys.executable, "-m", "training", "photos", "--from", str(start), "--data", str(data), "--out", str(package),
        "--runs", str(runs), "--minutes", str(minutes), "--fresh", "--device", "cpu",
    ]  # fmt: skip
    begin = time.monotonic()
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=sys.stderr)
    return time.monotonic() - begin


def denoise(package: Path, pictures: Sequence[Image]) -> list[Image]:
    """The pictures as the service answers them."""
    with Autoencoder(package, provider="cpu") as model:
        return [np.asarray(model.denoise(picture)).reshape(picture.shape) for picture in pictures]


def measure(restored: Image, clean: Image) -> float:
    """PSNR in dB; white is 255, of 16 bits the brightest pixel of the clean picture."""
    peak = 255.0 if clean.dtype == np.uint8 else float(clean.max())
    return float(10 * np.log10(peak**2 / np.mean((restored.astype(np.float64) - clean) ** 2)))


def _row(device: str, kind: str, restored: Sequence[Image], test: Sequence[Exposure], seconds: float) -> str:
    values = [measure(picture, exposure.clean) for picture, exposure in zip(restored, test, strict=True)]
    before = [measure(exposure.noisy, exposure.clean) for exposure in test]
    left = float(np.mean([10 ** ((a - b) / 10) for a, b in zip(before, values, strict=True)]))
    minutes = f"{seconds / 60:.1f}" if seconds else ""
    return f"| {device} | {kind} | {np.mean(values):.2f} | {100 * left:.0f} % | {minutes} |"


def draw(strips: Sequence[Sequence[Image]], file: Path) -> None:
    """A row for each device: parts of the noisy picture, of what the models make of it, and of the clean one."""
    side, rows = 160, []
    for views in strips:
        white = float(np.percentile(views[-1], 99.7)) if views[-1].dtype == np.uint16 else 255.0
        parts = []
        for view in views:
            top, left = ((length - side) // 2 for length in view.shape[:2])
            part = (view[top : top + side, left : left + side] * (255 / white)).clip(0, 255).astype(np.uint8)
            parts.append(np.repeat(part[..., None], 3, 2) if part.ndim == 2 else part[..., ::-1])
        rows.append(
            np.concatenate(
                [cv2.copyMakeBorder(part, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=(255, 255, 255)) for part in parts], 1
            )
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(file), cv2.resize(np.concatenate(rows), None, fx=1.5, fy=1.5, interpolation=cv2.INTER_NEAREST))


if __name__ == "__main__":
    sys.exit(main())
