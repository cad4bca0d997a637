"""Spoilt packages, and versions that change, under a running service.

python -m tests.abuse.mutants --mutants 1000 --swaps 200

A good package is dropped in, spoilt in one place: bytes flipped, files cut off, facts of the manifest changed, digests
rewritten so that the graph itself is what is broken, graphs that loop or want all memory. What is served in spite of it
must compute the same as the good one, on samples that its golden pair does not hold: a flipped bit of a name or of the
last digit of a weight breaks nothing.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from service.model import golden, package
from service.model.runtime import Model
from tests.service import packages as doubles

WIDE, NARROW = 16, 8
KINDS = ("flip", "cut", "fact", "rewritten", "rewritten", "manifest", "pair", "greedy")
FACTS: tuple[dict[str, Any], ...] = (
    {"name": "other"}, {"version": 0}, {"version": 10**9}, {"version": "one"}, {"opset": 18}, {"opset": 999},
    {"kind": "other"}, {"operations": []}, {"operations": ["encode", "explode"]}, {"graphs": {}}, {"surprise": 1},
    {"graphs": {"encoder": {"file": "../../signal/1/encoder.onnx", "sha256": "0" * 64}}}, {"format": "pickle"},
    {"reconstruction_error_quantiles": [1, 0]}, {"evaluation": {}}, {"training": None}, {"description": ""},
    {"golden": {"file": "/etc/passwd", "sha256": "0" * 64}}, {"halo": -1},
)  # fmt: skip


def write(models: Path, version: int, scale: float = 1.0) -> Path:
    """signal/<version>, a dense layer there and back, with its golden pair; latents are `scale` times tanh."""
    generator = np.random.default_rng(0)
    n = helper.make_node
    there, back = (generator.normal(0, 0.3, shape).astype(np.float32) for shape in ((WIDE, NARROW), (NARROW, WIDE)))
    graphs: Any = {
        "encoder": doubles.graph(
            [n("MatMul", ["vector", "w"], ["a"]), n("Tanh", ["a"], ["b"]), n("Mul", ["b", "scale"], ["latent"])],
            ("vector", TensorProto.FLOAT, ["N", WIDE]), ("latent", TensorProto.FLOAT, ["N", NARROW]),
            {"w": there, "scale": np.array(scale, np.float32)},
        ),
        "decoder": doubles.graph(
            [n("MatMul", ["latent", "w"], ["vector"])],
            ("latent", TensorProto.FLOAT, ["N", NARROW]), ("vector", TensorProto.FLOAT, ["N", WIDE]), {"w": back},
        ),
    }  # fmt: skip
    return _write(models, version, graphs)


def _write(models: Path, version: int, graphs: dict[Any, onnx.ModelProto]) -> Path:
    data = {role: model.SerializeToString() for role, model in graphs.items()}
    facts = doubles.manifest("signal", data, version=version)
    listed, pair = golden.create(package.verify(facts, data, "signal"))
    facts = facts.model_copy(update={"golden": listed})
    return package.write(models, facts, data, {listed.file: pair})


def mutant(elsewhere: Path, models: Path, version: int, generator: np.random.Generator) -> str:
    """A spoilt signal/<version> appears under `models`; the answer says in which way it is spoilt."""
    directory = write(elsewhere, version)
    kind = KINDS[version % len(KINDS)]
    files = ("encoder.onnx", "decoder.onnx", "golden.npz")
    file = directory / files[int(generator.integers(3))]
    if kind == "flip":
        _flip(file, generator)
    elif kind == "cut":
        data = file.read_bytes()
        file.write_bytes(data[: int(generator.integers(len(data)))])
    elif kind == "fact":
        _edit(directory, FACTS[int(generator.integers(len(FACTS)))])
    elif kind == "manifest":
        _flip(directory / "manifest.json", generator)
    elif kind == "greedy":
        kind = "loops" if generator.integers(8) == 0 else "allocates"
        (directory / "encoder.onnx").write_bytes(_greedy(kind, int(generator.integers(31, 45))).SerializeToString())
    else:  # rewritten, pair
        _flip(directory / (files[2] if kind == "pair" else files[int(generator.integers(2))]), generator)
    if kind in ("rewritten", "pair", "loops", "allocates"):
        _digest_again(directory)
    directory.rename(models / "signal" / str(version))
    return kind


def same_function(good: Path, other: Path) -> bool:
    """Whether both compute the same, as far as a golden pair can tell, on 256 samples that it does not hold."""
    batch = np.random.default_rng(1).standard_normal((256, WIDE)).astype(np.float32)
    one, two = (Model(package.read(directory), "cpu") for directory in (good, other))
    there = one.encode(batch), two.encode(batch)
    back = one.reconstruct(batch).output, two.reconstruct(batch).output
    return all(float(np.abs(a - b).max()) <= 0.02 * float(np.abs(a).max()) for a, b in (there, back))


def _flip(file: Path, generator: np.random.Generator) -> None:
    data = bytearray(file.read_bytes())
    data[int(generator.integers(len(data)))] ^= int(generator.integers(1, 256))
    file.write_bytes(data)


def _edit(directory: Path, changes: dict[str, Any]) -> None:
    path = directory / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _digest_again(directory: Path) -> None:
    facts = json.loads((directory / "manifest.json").read_text())
    for listed in (*facts["graphs"].values(), facts["golden"]):
        listed["sha256"] = package.sha256((directory / listed["file"]).read_bytes())
    _edit(directory, {"graphs": facts["graphs"], "golden": facts["golden"]})


def _greedy(kind: str, power: int) -> onnx.ModelProto:
    """An encoder that loops 2**60 times, or first fills 2**power bytes."""
    n = helper.make_node
    source: Any = ("vector", TensorProto.FLOAT, ["N", WIDE])
    target: Any = ("latent", TensorProto.FLOAT, ["N", NARROW])
    narrow = {"from": np.array([0]), "to": np.array([NARROW]), "axis": np.array([1])}
    cut = n("Slice", ["big", "from", "to", "axis"], ["latent"])
    if kind == "allocates":
        nodes = [
            n("ConstantOfShape", ["size"], ["zeros"]), n("ReduceMax", ["zeros"], ["zero"], keepdims=0),
            n("Add", ["vector", "zero"], ["big"]), cut,
        ]  # fmt: skip
        return doubles.graph(nodes, source, target, {**narrow, "size": np.array([2 ** (power - 2)])})
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [n("Identity", ["on"], ["still"]), n("Add", ["x", "x"], ["y"])], "body",
        [value("i", TensorProto.INT64, []), value("on", TensorProto.BOOL, []), value("x", TensorProto.FLOAT, None)],
        [value("still", TensorProto.BOOL, []), value("y", TensorProto.FLOAT, None)],
    )  # fmt: skip
    nodes = [n("Loop", ["times", "yes", "vector"], ["big"], body=body), cut]
    return doubles.graph(nodes, source, target, {**narrow, "times": np.array(2**60), "yes": np.array(True)})


# --- the long run ----------------------------------------------------------------------------------------


class Service:
    """`serve` in a process of its own, on any port, looking every 0.1 s."""

    def __init__(self, models: Path) -> None:
        environment = {**os.environ, "AUTOENCODER_WATCH": "0.1", "AUTOENCODER_VERIFY_SECONDS": "3"}
        command = [sys.executable, "-m", "service", "serve", "--models", str(models), "--port", "0"]
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split(" on ")[1].split()[0]

    def models(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/v1/models", timeout=60) as answer:
            document: dict[str, Any] = json.load(answer)
            return document

    def memory(self) -> int:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) // 1024


class Client(threading.Thread):
    """Asks again and again; counts what came, and answers that are not their version's."""

    def __init__(self, url: str, expected: dict[int, np.ndarray] | np.ndarray) -> None:
        super().__init__(daemon=True)
        self.url, self.expected, self.over = url, expected, threading.Event()
        self.counts: Counter[str] = Counter()
        self.slowest = 0.0
        self.start()

    def run(self) -> None:
        body = json.dumps({"inputs": [[1.0] * WIDE]}).encode()
        while not self.over.is_set():
            began = time.perf_counter()
            request = urllib.request.Request(
                f"{self.url}/v1/models/signal/encode", body, {"Content-Type": "application/json"}
            )
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    document = json.load(answer)
            except (OSError, urllib.error.HTTPError) as error:
                self.counts[f"failed: {error}"] += 1
                continue
            unit = self.expected if isinstance(self.expected, np.ndarray) else self.expected[document["version"]]
            right = np.allclose(document["latents"], unit, rtol=0.03, atol=0.03)
            self.counts["right" if right else "mixed or wrong"] += 1
            self.slowest = max(self.slowest, time.perf_counter() - began)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.abuse.mutants")
    parser.add_argument("--mutants", type=int, default=1000)
    parser.add_argument("--swaps", type=int, default=200)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return _mutants(Path(folder), asked.mutants) | _swaps(Path(folder) / "swapped", asked.swaps)


def _mutants(folder: Path, count: int) -> int:
    if not count:
        return 0
    models, elsewhere = folder / "models", folder / "elsewhere"
    good = write(models, 1)
    unit = Model(package.read(good)).encode(np.ones((1, WIDE), np.float32))
    service = Service(models)
    memory = service.memory()
    client = Client(service.url, unit)
    kinds, served, wrong = Counter[str](), Counter[str](), 0
    generator = np.random.default_rng(0)
    began = time.monotonic()
    for first in range(2, count + 2, 50):
        spoilt = {n: mutant(elsewhere, models, n, generator) for n in range(first, min(first + 50, count + 2))}
        kinds.update(spoilt.values())
        while True:  # until each is either refused or served
            document = service.models()
            refused = {refusal["folder"] for refusal in document["refused"]}
            versions = set(document["models"][0]["versions"])
            if all(f"signal/{n}" in refused or n in versions for n in spoilt):
                break
            time.sleep(0.2)
        for n in versions - {1}:
            served[spoilt[n]] += 1
            wrong += not same_function(good, models / "signal" / str(n))
        for n in spoilt:
            shutil.rmtree(models / "signal" / str(n))
        while len((document := service.models())["models"][0]["versions"]) > 1 or document["refused"]:
            time.sleep(0.1)
        print(f"{sum(kinds.values())} mutants, {time.monotonic() - began:.0f} s", flush=True)
    client.over.set()
    client.join()
    alive = service.process.poll() is None
    print(f"mutants {dict(kinds)}\nserved, computing the same: {dict(served)}\nserved, computing otherwise: {wrong}")
    print(f"service alive: {alive}; memory {memory} -> {service.memory() if alive else 0} MiB")
    print(f"requests meanwhile: {dict(client.counts)}, slowest {client.slowest:.2f} s", flush=True)
    service.process.terminate()
    service.process.wait()
    return int(wrong or not alive or set(client.counts) != {"right"})


def _swaps(models: Path, count: int) -> int:
    if not count:
        return 0
    unit = Model(package.read(write(models, 1))).encode(np.ones((1, WIDE), np.float32))
    expected = {n: unit * n for n in range(1, count + 2)}
    service = Service(models)
    memory = service.memory()
    clients = [Client(service.url, expected) for _ in range(4)]
    began = time.monotonic()
    for n in range(2, count + 2):
        write(models, n, scale=float(n))
        while service.models()["models"][0]["version"] != n:
            time.sleep(0.02)
        shutil.rmtree(models / "signal" / str(n - 1))
    counts: Counter[str] = Counter()
    for client in clients:
        client.over.set()
        client.join()
        counts.update(client.counts)
    print(f"{count} swaps in {time.monotonic() - began:.0f} s, requests meanwhile: {dict(counts)}")
    print(f"slowest {max(c.slowest for c in clients):.2f} s; memory {memory} -> {service.memory()} MiB", flush=True)
    service.process.terminate()
    service.process.wait()
    return int(set(counts) != {"right"})


if __name__ == "__main__":
    sys.exit(main())
