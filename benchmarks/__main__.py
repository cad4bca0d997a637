"""`make bench`: encode over HTTP beside the raw runtime, one client, both in turns, medians and their ratio.

Machines are shared and noisy: only the ratio, measured side by side in one run, means something. The client shares the
cores with the service.
"""

import http.client
import io
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from service.model import Model
from service.package import read

MODEL = Path("models/cats-stacked/1")
ROUNDS, REPEATS = 9, 60


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    for _ in range(REPEATS):
        work()
    return (time.perf_counter() - started) / REPEATS


def main() -> int:
    model = Model(read(MODEL), "cpu")
    command = [sys.executable, "-m", "service", "serve", "--port", "0", "--provider", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        if process.stdout is None:
            return 1
        try:
            address = next(word for word in process.stdout.readline().split() if word.startswith("http"))
            connection = http.client.HTTPConnection(address.removeprefix("http://"))
            headers = {"Content-Type": "application/x-npy", "Accept": "application/x-npy"}

            def ask(body: bytes) -> bytes:
                connection.request("POST", f"/v1/models/{MODEL.parent.name}/encode", body, headers)
                return connection.getresponse().read()

            print(f"{'encode, .npy':16}{'raw runtime':>14}{'over HTTP':>14}{'ratio':>8}")
            for count in (1, 256):
                batch = np.random.default_rng(0).integers(0, 256, (count, 28, 28, 1), dtype=np.uint8)
                body = npy(batch)
                if not np.array_equal(np.load(io.BytesIO(ask(body))), model.encode(batch)):
                    raise SystemExit("the service and the runtime disagree")
                pairs = [
                    (seconds(lambda b=batch: model.encode(b)), seconds(lambda b=body: ask(b))) for _ in range(ROUNDS)
                ]
                raw, served = (statistics.median(side) * 1e3 for side in zip(*pairs, strict=True))
                ratio = statistics.median(r / s for r, s in pairs)
                print(f"{f'batch of {count}':16}{raw:11.3f} ms{served:11.3f} ms{ratio:8.2f}")
        finally:
            process.terminate()
    return 0


if __name__ == "__main__":
    sys.exit(main())
