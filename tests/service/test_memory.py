"""A page of 100 megapixels, in a process of its own: what it takes is told in ARCHITECTURE.md."""

import os
import subprocess
import sys
from pathlib import Path

from tests.service import packages as doubles

BYTES_PER_PIXEL = 2  # of 8-bit grey: the page and its answer; beside them both files
CONSTANT = 320 * 2**20  # libraries, model, a few tiles; 0.39 to 0.48 GB in all were measured, by processor
SCRIPT = """
import asyncio, sys
from pathlib import Path
import numpy as np
from service.api.v1 import responses
from service.codecs import images
from service.inference.admission import Admission
from service.inference.engine import Inference
from service.inference.inputs import Preprocessor
from service.inference.options import Options
from service.model.runtime import Model
from service.model.package import read
from service.imaging.picture import Picture
from service.inference.payload import Payload, PayloadPart
from service.inference.scheduler import Scheduler

def page():
    pixels = np.full((10_000, 10_000, 1), 250, np.uint8)
    pixels[::50] = 20
    return images.encode(Picture(pixels), "image/png")

async def go(payload):
    model = Model(read(Path(sys.argv[1])))
    scheduler = Scheduler(2)
    preprocessor = Preprocessor(scheduler, 120_000_000, 1)
    inference = Inference(scheduler, 512)
    with Admission(1, 120_000_000, 1).enter() as permit:
        inputs = await preprocessor.prepare(model, "denoise", payload, Options(), permit)
        result = await inference.run(model, "denoise", inputs, Options())
    response = responses.serialize(result, "image/png", model, "denoise", payload)
    scheduler.close()
    return response.body

if sys.argv[2] == "make":
    sys.stdout.buffer.write(page())
else:
    data = sys.stdin.buffer.read()
    answer = asyncio.run(go(Payload((PayloadPart(data, "image"),), "image")))
    assert images.inspect(answer, 10**9, "it").sizes == ((10_000, 10_000),)
    # VmHWM: ru_maxrss would also tell the memory of the process that this one was forked from
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(int(peak.split()[1]) * 1024, len(data) + len(answer))
"""


def test_100_megapixels_take_two_bytes_a_pixel_and_a_constant(tmp_path: Path) -> None:
    package = doubles.write_denoisers(tmp_path) / "page" / "1"
    command = [sys.executable, "-c", SCRIPT, str(package)]
    plain = {key: value for key, value in os.environ.items() if not key.startswith("COV")}  # coverage takes memory too
    page = subprocess.run([*command, "make"], stdout=subprocess.PIPE, env=plain, check=True).stdout
    done = subprocess.run([*command, "denoise"], input=page, stdout=subprocess.PIPE, env=plain, check=True)
    peak, files = map(int, done.stdout.split())
    assert 10**8 < peak < BYTES_PER_PIXEL * 10**8 + 2 * files + CONSTANT
