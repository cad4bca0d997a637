"""`python -m benchmarks.serving.large_pictures OTHER_CHECKOUT`: large pictures, by this checkout and by another one.

both services, started from their checkouts -> a photograph of 12 megapixels, A4 pages at 300 dpi, in turns
  -> seconds, their ratio pair by pair, CPU seconds, and how far the answers are apart

The pictures are made of the page's own examples: the photograph enlarged, with noise, as JPEG; the page repeated, as
grey and as yellowish PNG. Each service has its own checkout's models, or `--models` and `--other-models`: so a
rewritten graph is compared with the one that it comes from. Ratios below 1: this checkout is faster.
"""

import argparse
import io
import statistics
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.serving.compare import Service, start_service

EXAMPLES = Path(__file__).parents[2] / "service" / "web" / "static"
PHOTOGRAPH, PAGE = (4000, 3000), (2480, 3508)  # width, height
NOISE = 8.0  # standard deviation, of 255
PAPER = (255, 247, 230)  # RGB


def make_pictures() -> Iterator[tuple[str, str, bytes]]:
    """(name, model, file)"""
    with Image.open(EXAMPLES / "example-photo.jpg") as example:
        photograph = np.asarray(example.convert("RGB").resize(PHOTOGRAPH, Image.Resampling.BICUBIC), np.float32)
    noise = np.random.default_rng(0).normal(0, NOISE, photograph.shape)
    yield "12 megapixels, JPEG", "photos", _encode(photograph + noise, "JPEG", quality=92)
    with Image.open(EXAMPLES / "example-page.png") as example:
        page = np.asarray(example.convert("L"), np.float32)
    repeats = [-(-size // side) for size, side in zip(PAGE[::-1], page.shape, strict=True)]
    page = np.tile(page, repeats)[: PAGE[1], : PAGE[0]]
    yield "A4 at 300 dpi, grey PNG", "pages", _encode(page, "PNG")
    yield "A4 at 300 dpi, colour PNG", "pages", _encode(page[..., None] * np.array(PAPER, np.float32) / 255, "PNG")


def _encode(pixels: np.ndarray, file_format: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.rint(pixels.clip(0, 255)).astype(np.uint8)).save(buffer, file_format, **options)
    return buffer.getvalue()


def clean(service: Service, model: str, data: bytes) -> tuple[float, float, np.ndarray]:
    """Seconds from the request to the last byte of its answer, CPU seconds of the service, the answer's pixels."""
    url = f"http://127.0.0.1:{service.port}/v1/models/{model}/denoise"
    media_type = "image/jpeg" if data.startswith(b"\xff\xd8") else "image/png"
    request = urllib.request.Request(url, data, {"Content-Type": media_type, "Accept": media_type})
    cpu, start = service.cpu_seconds, time.perf_counter()
    with urllib.request.urlopen(request) as response:
        answer = response.read()
    seconds = time.perf_counter() - start
    with Image.open(io.BytesIO(answer)) as image:
        return seconds, service.cpu_seconds - cpu, np.asarray(image, np.int16)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serving.large_pictures", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("other", type=Path, help="the folder of another checkout")
    parser.add_argument("--rounds", type=int, default=5, help="of each picture")
    parser.add_argument("--models", type=Path, help="this checkout's models; default: models")
    parser.add_argument("--other-models", type=Path, help="the other one's; default: its own")
    options = parser.parse_args()
    other = options.other.absolute()
    folders = [(options.models or Path("models")).absolute(), (options.other_models or other / "models").absolute()]
    print(
        "| | other, s | this, s | ratio | lowest | highest | ratio of CPU time | largest difference |\n"
        + "|---" * 8
        + "|"
    )
    with ExitStack() as stack:
        services = [
            stack.enter_context(start_service(checkout, port, models))
            for checkout, port, models in zip((Path.cwd(), other), (8393, 8394), folders, strict=True)
        ]
        for name, model, data in make_pictures():
            pairs = []
            for index in range(options.rounds + 1):
                order = (0, 1) if index % 2 else (1, 0)
                outcomes = {place: clean(services[place], model, data) for place in order}
                if index:  # the first round allocates memory
                    pairs.append((outcomes[0], outcomes[1]))
            ratios = [mine[0] / theirs[0] for mine, theirs in pairs]
            cpu = statistics.median(mine[1] / theirs[1] for mine, theirs in pairs)
            seconds = [statistics.median(pair[place][0] for pair in pairs) for place in (1, 0)]
            difference = int(np.abs(pairs[-1][0][2] - pairs[-1][1][2]).max())
            print(
                f"| {name} | {seconds[0]:.2f} | {seconds[1]:.2f} | {statistics.median(ratios):.3f} | {min(ratios):.3f} "
                f"| {max(ratios):.3f} | {cpu:.3f} | {difference} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
