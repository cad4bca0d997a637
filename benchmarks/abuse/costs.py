"""Fuzzer of costs: bodies that take the most memory, or delay /livez the most, for each byte that is sent.

templates -> mutants -> memory and delay of each -> the worse one goes on -> the worst of each kind, at the largest size

The service must keep its promises for these: /livez within DELAY, and memory within the formula of docs/deploy.md.
"""

import math
import multiprocessing
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from benchmarks.abuse import bodies
from benchmarks.abuse.bodies import JSON, NPY
from benchmarks.abuse.report import Outcome
from benchmarks.abuse.serving import MIB, Client, Serving

BOUNDS = Path("deploy/bounds.env")
DELAY = 0.1  # seconds that /livez may take beside any body
SEARCH_BYTES = 2 * MIB  # of a body while searching
TRIES = 3  # of the largest bodies: the quickest counts, since others are on this machine too
POLL = 0.002  # seconds between two requests of /livez
_FORM = "multipart/form-data; boundary=b"
_FILE = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
_V2 = b'{"inputs":[{"name":"image","shape":[1,28,28,1],"datatype":"UINT8","data":['
_TOKENS = (
    *(b"0,", b"[", b"]", b"{", b"}", b",", b":", b'"', b'"a":', b'"",', b"[],", b"{},", b"-", b"1e9", b"1.5,", b"255,"),
    *(b"null,", b"\\", b"\\u0041", b" ", b"\n", b"\r\n", b"\r\n--b", b"--", b"\xff", b"\0", b"A", b"9" * 40),
)


@dataclass(frozen=True)
class Template:
    """A body of any size: `start`, then `unit` again and again, then `end`."""

    kind: str
    path: str
    content_type: str
    start: bytes
    unit: bytes
    end: bytes = b""
    accept: str = "*/*"

    def body(self, size: int) -> bytes:
        return self.start + self.unit * max(1, (size - len(self.start) - len(self.end)) // len(self.unit)) + self.end

    def __str__(self) -> str:
        return f"{self.kind} {_shorten(self.start)} {_shorten(self.unit)}* {_shorten(self.end)}"


@dataclass(frozen=True)
class Cost:
    """What one body costs: seconds that /livez took at most, bytes above what there was before, at the peak."""

    delay: float
    growth: int
    peak: int
    status: int
    seconds: float


def templates(image: str, pages: str, v2: str) -> list[Template]:
    """Where the search begins: at least one of each media type; `image`, `pages`: paths of models, `v2` of infer."""
    seeds = bodies.seeds()
    encode, decode, denoise = f"{image}/encode", f"{image}/decode", f"{pages}/denoise"
    latents = bodies.npy(np.zeros((4096, 32), np.float32))
    next_file, row = b"\r\n" + _FILE, b"[" + b"0," * 1023 + b"0]"
    return [
        Template("JSON", encode, JSON, b'{"inputs":[', b"0,", b"0]}"),
        Template("JSON", encode, JSON, b'{"inputs":[', b"[],", b"[]]}"),
        Template("JSON", encode, JSON, b"{", b'"a":0,', b'"b":0}'),
        Template("JSON", encode, JSON, b'{"inputs":[', b'"a",', b'""]}'),
        Template("JSON latents", decode, JSON, b'{"latents":[', b"1e-9,", b"0]}"),
        Template("JSON base64", encode, JSON, b'{"inputs":"', b"AAAA", b'"}'),
        Template("JSON base64", encode, JSON, b'{"inputs":["', b'AAAA","', b'"]}'),
        Template("/v2 JSON", v2, JSON, _V2, b"0,", b"0]}]}"),
        Template("/v2 JSON", v2, JSON, b'{"outputs":[', b"{},", b"{}]}"),
        Template("index", "/v2/repository/index", JSON, b'{"ready":[', b"[],", b"[]]}"),
        Template("form", encode, _FORM, _FILE, b"\r\n--bX", b"\r\n--b--\r\n"),
        Template("form", encode, _FORM, _FILE, next_file, b"\r\n--b--\r\n"),
        Template("form, NDJSON", encode, _FORM, _FILE, seeds["npy"][1] + next_file, b"\r\n--b--\r\n", bodies.NDJSON),
        Template(".npy", encode, NPY, b"\x93NUMPY\x01\x00", b"\0"),
        Template(".npy, JSON answer", decode, NPY, latents, b"\0", accept=JSON),
        Template("page of numbers", denoise, JSON, b'{"inputs":[', row + b",", row + b"]}"),
        *[
            Template(kind, f"{image}/reconstruct?fit=contain", seeds[kind][0], seeds[kind][1], b"\0")
            for kind in ("png", "jpeg", "webp", "tiff", "bmp")
        ],
        Template("jpeg", f"{image}/reconstruct?fit=contain", seeds["jpeg"][0], seeds["jpeg"][1][:-2], b"\xff"),
    ]  # fmt: skip


def mutate(template: Template, others: list[Template], rng: random.Random) -> Template:
    """One change of what is repeated, of the start or of the end."""
    unit, position = template.unit, rng.randrange(len(template.unit) + 1)
    choice = rng.randrange(7)
    if choice == 0:
        unit = unit[:position] + rng.choice(_TOKENS) + unit[position:]
    elif choice == 1:
        unit = unit[:position] + unit[position + 1 :] or b"0"
    elif choice == 2:
        unit = (unit + unit)[:4096]
    elif choice == 3:
        unit = rng.choice(_TOKENS)
    elif choice == 4:
        unit = rng.choice(others).unit
    elif choice == 5:
        cut = rng.randrange(len(template.start) + 1)
        return replace(template, start=template.start[:cut] + rng.choice(_TOKENS) + template.start[cut:])
    else:
        return replace(template, end=rng.choice((b"", template.end, *_TOKENS)))
    return replace(template, unit=unit)


def search(served: Serving, settings: Mapping[str, int], starts: list[Template], rounds: int, seed: int = 0) -> Outcome:
    """`rounds` mutants of all kinds, worse by memory and by delay in turns; then the worst ones at the largest size."""
    started, rng, broken = time.perf_counter(), random.Random(seed), list[str]()
    kinds = list(dict.fromkeys([template.kind for template in starts]))
    worst: dict[tuple[str, str], tuple[float, Template]] = {}
    with Client(served.port, 120) as client, Poller(served.port) as poller:

        def try_template(template: Template) -> None:
            cost = measure(served, client, poller, template, SEARCH_BYTES)
            if cost.status == 0 or cost.status >= 500:
                broken.append(f"{template}: {cost.status}")
            for name, score in (("memory", float(cost.growth)), ("delay", cost.delay)):
                if score > worst.get((template.kind, name), (-math.inf, template))[0]:
                    worst[template.kind, name] = score, template

        for template in starts:
            try_template(template)
        for number in range(rounds):
            kind, name = kinds[number // 2 % len(kinds)], ("memory", "delay")[number % 2]
            try_template(mutate(worst[kind, name][1], starts, rng))
        allowed, largest = allowed_memory(settings), settings["max_body_bytes"] - 1024
        slowest, heaviest = (0.0, ""), (0, "")
        for template in dict.fromkeys([template for _, template in worst.values()]):
            costs = [measure(served, client, poller, template, largest)]
            while costs[-1].delay > DELAY and len(costs) < TRIES:
                costs.append(measure(served, client, poller, template, largest))
            delay, peak = min([cost.delay for cost in costs]), max([cost.peak for cost in costs])
            slowest, heaviest = max(slowest, (delay, str(template))), max(heaviest, (peak, str(template)))
            if delay > DELAY:
                broken.append(f"/livez took {delay:.2f} s beside {template}")
            if peak > allowed:
                broken.append(f"{peak / MIB:.0f} MiB with {template}; {allowed / MIB:.0f} are allowed")
            if any(cost.status == 0 or (cost.status >= 500 and cost.status != 504) for cost in costs):
                broken.append(f"{template} of {largest} bytes: {[cost.status for cost in costs]}")
    found = (
        f"bodies of {largest / MIB:.0f} MiB: /livez at most {slowest[0] * 1000:.0f} ms ({slowest[1]}); memory at most "
        f"{heaviest[0] / MIB:.0f} of {allowed / MIB:.0f} MiB ({heaviest[1]})"
    )
    return Outcome("costly bodies", f"{rounds:,}", found, time.perf_counter() - started, None, broken[:8])


def measure(served: Serving, client: Client, poller: "Poller", template: Template, size: int) -> Cost:
    """Send one body while /livez is polled on a connection of its own."""
    body = template.body(size)
    Path(f"/proc/{served.process.pid}/clear_refs").write_text("5")  # the peak of memory begins anew
    before = served.memory
    poller.slowest.value = 0.0
    answer = client.try_to("POST", template.path, body, template.content_type, template.accept)
    time.sleep(5 * POLL)  # for the request of /livez that waits
    peak = served.peak_memory
    if not poller.is_alive:
        raise RuntimeError("the process that polls /livez has ended")
    return Cost(poller.slowest.value, peak - before, peak, answer.status, answer.seconds)


class Poller:
    """A process that polls /livez: a thread of this one would wait while the client copies its body.

    `slowest` is the longest time of a request since it was set to 0, in seconds.
    """

    def __init__(self, port: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.slowest = context.Value("d", 0.0, lock=False)
        self._process = context.Process(target=_poll, args=(port, self.slowest), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        while self.is_alive and not self.slowest.value:
            time.sleep(POLL)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()


def _poll(port: int, slowest: Any) -> None:
    with Client(port, 120) as client:
        while True:
            seconds = client.try_to("GET", "/livez").seconds
            slowest.value = max(slowest.value, seconds)
            time.sleep(POLL)


def read_bounds() -> dict[str, int]:
    """The settings of deploy/bounds.env, by their names in the settings file, and two workers."""
    pairs = [line.split("=") for line in BOUNDS.read_text().splitlines() if line.startswith("AUTOENCODER_")]
    return {**{name.removeprefix("AUTOENCODER_").lower(): int(value) for name, value in pairs}, "workers": 2}


def allowed_memory(settings: Mapping[str, int]) -> int:
    """Bytes, by the formula of docs/deploy.md."""
    constant = 256 * MIB + 640 * MIB * settings["workers"]
    return constant + 2 * settings["max_inside_bytes"] + 27 * settings["max_inside_pixels"]


def _shorten(text: bytes) -> str:
    return repr(text[:24] + b"..." * (len(text) > 24))[1:]
