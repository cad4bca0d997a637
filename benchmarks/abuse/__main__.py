"""`python -m benchmarks.abuse TRIAL...`: treat the service badly, for long; a row each, exit 1 on a broken promise.

python -m benchmarks.abuse                       all, at full size (about an hour on two cores)
python -m benchmarks.abuse bombs slow            some
python -m benchmarks.abuse fuzz --scale 0.05     a twentieth of it

It serves the shipped models as a process of its own; figures of time want a machine that has nothing else to do.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.abuse import (
    bodies,
    conformance,
    contract,
    costs,
    crowds,
    endings,
    floods,
    fuzzing,
    names,
    packages,
    semantics,
    soaking,
    systems,
    training,
)
from benchmarks.abuse.crowds import Request
from benchmarks.abuse.report import HEADING, Outcome
from benchmarks.abuse.serving import LOGS, Client, serving
from benchmarks.abuse.soaking import Kind

CATS, PHOTOS, PAGES = "/v1/models/cats-convolutional", "/v1/models/photos", "/v1/models/pages"
FITTED = f"{CATS}/reconstruct?fit=contain"
PICTURES = (FITTED, f"{PHOTOS}/denoise", f"{PAGES}/denoise")
NUMBERS = (f"{CATS}/encode", f"{CATS}/decode", f"{PAGES}/denoise")
PATHS = {
    **dict.fromkeys(bodies.list_picture_kinds(), PICTURES),
    **dict.fromkeys(("npy", "json"), NUMBERS),
}
ADDRESS_SPACE = 8 << 30  # bytes
DEADLINE = 5  # seconds, of slow connections


def request(path: str, kind: str, side: int = 28) -> Request:
    content_type, body = bodies.seeds(side)[kind]
    return Request(path, body, content_type)


def fuzz(scale: float) -> Outcome:
    with serving() as served:
        return fuzzing.fuzz(served, PATHS, int(20_000 * scale))


def bombs(scale: float) -> Outcome:
    del scale  # they are as many as they are
    with serving() as served:
        return fuzzing.drop_bombs(served, PATHS, bodies.bombs())


def costs_of_bodies(scale: float) -> Outcome:
    settings = costs.read_bounds()
    with serving(settings) as served:
        starts = costs.templates(CATS, PAGES, "/v2/models/cats-convolutional/infer")
        return costs.search(served, settings, starts, int(1_000 * scale))


def slow(scale: float) -> Outcome:
    with serving({"headers_deadline": DEADLINE, "body_deadline": DEADLINE}) as served:
        return crowds.slow(served, request(f"{CATS}/encode", "npy"), int(300 * scale), DEADLINE, max(2, 15 * scale))


def flood(scale: float) -> Outcome:
    with serving({"max_body_bytes": 1 << 19}) as served:
        attacks = floods.endless_floods(f"{CATS}/encode".encode())
        return floods.floods(served, attacks, 20, int(200 * scale) << 20, must_end=True)


def pipeline(scale: float) -> Outcome:
    with serving({"max_body_bytes": 1 << 20, "log_requests": "off"}) as served:
        attacks = floods.pipelined_floods(f"{CATS}/encode".encode())
        return floods.floods(served, attacks, 20, int(20 * scale) << 20, must_end=False)


def http_conformance(scale: float) -> Outcome:
    return conformance.conformance(int(50_000 * scale))


def heads(scale: float) -> Outcome:
    del scale
    with serving() as served:
        return semantics.try_heads(served, request(f"{CATS}/encode", "npy"))


def overload(scale: float) -> Outcome:
    with serving() as served:
        return crowds.overload(served, request(f"{PHOTOS}/denoise", "jpeg", 384), 5, 60 * scale, places=64)


def sigterm(scale: float) -> Outcome:
    requests = [
        request(f"{CATS}/encode", "npy"),
        request(FITTED, "png"),
        request(f"{PHOTOS}/denoise", "jpeg", 128),
        request(f"{CATS}/encode", "json"),
    ]
    return endings.sigterm(requests, max(1, int(20 * scale)), drain=2, models=Path("models"))


def endless(scale: float) -> Outcome:
    del scale
    with tempfile.TemporaryDirectory() as folder:
        models = packages.alter(Path("models/cats-convolutional/1"), Path(folder), packages.never_end)
        white, black = (Request(f"{CATS}/encode", bodies.npy(_image(grey)), bodies.NPY) for grey in (255, 0))
        return endings.stuck(white, black, models, drain=2, deadline=3)


def answers(scale: float) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        models = packages.alter(Path("models/cats-convolutional/1"), Path(folder), packages.answer_nan)
        white, black = (Request(f"{CATS}/encode", bodies.npy(_image(grey)), bodies.NPY) for grey in (255, 0))
        with serving(models=models) as served:
            return crowds.mixed_answers(served, white, black, max(1.0, 20 * scale))


def address_space(scale: float) -> Outcome:
    del scale
    started = time.perf_counter()
    with serving({"workers": 2}, address_space=ADDRESS_SPACE) as served, Client(served.port) as client:
        listed = json.loads(client.ask("GET", "/v1/models").body)
    count, refused = len(listed["models"]), listed["refused"]
    broken = [f"{package['folder']}: {package['reason']}" for package in refused]
    return Outcome(
        "hard limit of address space", "1", f"{count} models open", time.perf_counter() - started, None, broken
    )


def _image(grey: int) -> np.ndarray:
    return np.full((1, 28, 28, 1), grey, np.uint8)


def soak(scale: float) -> Outcome:
    with serving() as served:
        return soaking.soak(served, _mixed(), int(200_000 * scale), warm=5_000)


def leak(scale: float) -> Outcome:
    """A kilobyte a request more: the same check must find it."""
    with serving(module="benchmarks.abuse.leaking") as served:
        found = soaking.soak(served, _mixed(), max(40_000, int(200_000 * scale)), warm=5_000)
    caught = any("grew by" in sentence for sentence in found.broken)
    broken = [] if caught else ["the planted leak was not found"]
    return dataclasses.replace(found, trial="soak with a leak of 1 KiB a request, to be found", broken=broken)


def schemathesis(scale: float) -> Outcome:
    with serving() as served:
        return contract.schemathesis(served, int(5_000 * scale))


def _mixed() -> list[Kind]:
    """Of all sorts, most of them small, a third of them wrong."""
    seeds = bodies.seeds()
    drawing, photo = seeds["png"][1], bodies.seeds(64)["jpeg"][1]
    batch = bodies.npy(np.zeros((16, 28, 28), np.uint8))
    long = b'{"inputs": [' + b'"no number", ' * 2_000 + b"1]}"
    form = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + drawing + b"\r\n--b--\r\n"
    json, npy, png = bodies.JSON, bodies.NPY, "image/png"
    return [
        Kind("POST", f"{CATS}/encode", seeds["npy"][1], npy, (200,)),
        Kind("POST", f"{CATS}/reconstruct", drawing, png, (200,)),
        Kind("POST", f"{CATS}/reconstruct", form, "multipart/form-data; boundary=b", (200,)),
        Kind("POST", f"{CATS}/encode", seeds["json"][1], json, (200,)),
        Kind("POST", f"{CATS}/encode", batch, npy, (200,)),
        Kind("POST", f"{PHOTOS}/denoise", photo, "image/jpeg", (200,)),
        Kind("POST", f"{PAGES}/denoise", bodies.seeds(64)["tiff"][1], "image/tiff", (200,)),
        Kind("GET", "/v1/models", None, "", (200,)),
        Kind("GET", "/readyz", None, "", (200,)),
        Kind("POST", f"{CATS}/encode", seeds["npy"][1][:-1], npy, (400,)),
        Kind("POST", f"{CATS}/encode", b'{"inputs": [[1, 2], [3]]}', json, (422,)),
        Kind("POST", f"{CATS}/encode", long, json, (422,)),
        Kind("POST", f"{CATS}/reconstruct", drawing[:200], png, (422,)),
        Kind("POST", f"{CATS}/reconstruct", bodies.png(50_000, 50_000, b""), png, (413, 422)),
        Kind("POST", f"{CATS}/encode", b"????", "", (415,)),
        Kind("POST", "/v1/models/nobody/encode", drawing, png, (404,)),
        Kind("GET", "/nowhere", None, "", (404,)),
        Kind("POST", f"{CATS}/encode?fit=tight", seeds["npy"][1], npy, (422,)),
        Kind("POST", f"{PHOTOS}/denoise", bodies.seeds(128)["bmp"][1], "image/bmp", (), leaves=True),
    ]


def file_names(scale: float) -> Outcome:
    del scale
    with tempfile.TemporaryDirectory() as folder:
        return names.try_names(Path(folder) / "images", "cats-convolutional", "pages", ["--models", "models"])


def descriptors(scale: float) -> Outcome:
    del scale
    return systems.exhaust_descriptors(Path("models"), request(f"{CATS}/encode", "npy"), LOGS)


def limits(scale: float) -> Outcome:
    del scale
    return systems.try_limits(Path("models"), "cats-convolutional")


def shared_folder(scale: float) -> Outcome:
    return systems.share_folder(Path("models"), "pages", max(2, int(4 * scale)))


def training_files(scale: float) -> Outcome:
    del scale
    return training.try_damages()


TRIALS = {
    "fuzz": fuzz,
    "bombs": bombs,
    "costs": costs_of_bodies,
    "schemathesis": schemathesis,
    "slow": slow,
    "floods": flood,
    "pipelines": pipeline,
    "http": http_conformance,
    "heads": heads,
    "overload": overload,
    "sigterm": sigterm,
    "endless": endless,
    "answers": answers,
    "address-space": address_space,
    "names": file_names,
    "descriptors": descriptors,
    "limits": limits,
    "shared-folder": shared_folder,
    "training": training_files,
    "soak": soak,
    "leak": leak,
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.abuse", description=__doc__.splitlines()[0])
    parser.add_argument("trials", nargs="*", metavar="TRIAL", help=f"of {', '.join(TRIALS)}; default: all")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full size (default: %(default)s)")
    asked = parser.parse_args(arguments)
    unknown = [name for name in asked.trials if name not in TRIALS]
    if unknown:
        parser.error(f"there is no trial {unknown[0]!r}; there are {', '.join(TRIALS)}")
    broken = False
    print(HEADING, flush=True)
    for name in asked.trials or TRIALS:
        outcome = TRIALS[name](asked.scale)
        print(outcome.row(), flush=True)
        broken = broken or bool(outcome.broken)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
