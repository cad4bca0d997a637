"""Packages that come, change and go while the service runs."""

import asyncio
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.cli.main import main
from service.model import golden, package, providers
from service.model.graph import GoldenMismatch
from service.model.providers import ProviderMissing, fallback, open_session
from service.model.runtime import Model
from service.repository.registry import Opener, Refusal, Registry, open_all
from service.repository.verifier import Unverified, Verifier
from service.repository.watcher import Watcher, scan
from service.settings import Settings
from tests.service import packages as doubles

MIB = 2**20
ROW = {"inputs": [[1, 2, 3, 4, 5, 6]]}


def write(models: Path, version: int, times: float = 2) -> Path:
    """signal/<version>: its encoder multiplies by `times`; with a golden pair, as every export writes one."""
    graphs = doubles.vector_graphs()
    graphs["encoder"].graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.array(times, np.float32), "two"))
    return write_with_golden(models, "signal", graphs, version=version)


def write_with_golden(models: Path, name: str, graphs: Any, **changes: Any) -> Path:
    data = {role: model.SerializeToString() for role, model in graphs.items()}
    facts = doubles.manifest(name, data, **changes)
    listed, pair = golden.make(package.verify(facts, data, "double"))
    facts = facts.model_copy(update={"golden": listed})
    return package.write(models, facts, data, {"README.md": b"# double\n", listed.file: pair})


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    made = Verifier(512 * MIB, 20)
    yield made
    made.close()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    write(tmp_path / "models", 1)
    return tmp_path / "models"


class Live:
    """A registry and its watcher, whose looks are asked for by hand."""

    def __init__(self, models: Path, verifier: Verifier | None) -> None:
        seen = scan(models)
        self.registry = open_all(models, "cpu", required=False)
        self.watcher = Watcher(self.registry, Opener("cpu", verifier=verifier), models, seen, 1)

    def look(self, times: int = 2) -> None:
        for _ in range(times):
            asyncio.run(self.watcher.look())

    def encoded(self, version: str | None = None) -> float:
        return float(self.registry.get("signal", version).encode(np.ones((1, 6), np.float32))[0, 0])


def test_a_new_version_is_served_when_it_has_stayed_the_same_for_two_looks(models: Path, verifier: Verifier) -> None:
    live = Live(models, verifier)
    write(models, 2, times=3)
    live.look(1)
    assert live.encoded() == 2
    live.look(1)
    assert live.encoded() == 3
    assert live.registry.versions("signal") == (1, 2)
    assert live.encoded("1") == 2


def test_a_copy_that_is_not_complete_is_not_reported(models: Path, verifier: Verifier, tmp_path: Path) -> None:
    whole = write(tmp_path / "elsewhere", 2, times=3)
    live = Live(models, verifier)
    target = models / "signal" / "2"
    target.mkdir()
    for file in sorted(whole.iterdir()):  # one at each look, as a slow `cp -r` does
        shutil.copy(file, target)
        live.look(1)
        assert live.registry.refused == ()
        assert live.encoded() == 2
    live.look(1)
    assert live.encoded() == 3


def test_a_bad_version_changes_nothing_and_is_looked_at_again_when_it_changes(
    models: Path, verifier: Verifier, caplog: pytest.LogCaptureFixture
) -> None:
    live = Live(models, verifier)
    directory = write(models, 2, times=3)
    good = (directory / "encoder.onnx").read_bytes()
    (directory / "encoder.onnx").write_bytes(good[:-1])
    live.look(4)
    assert live.encoded() == 2
    (refusal,) = live.registry.refused
    assert refusal.folder == "signal/2"
    assert "not the one that was exported" in refusal.reason
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == 1  # once, not at each look
    (directory / "encoder.onnx").write_bytes(good)
    live.look()
    assert live.encoded() == 3
    assert live.registry.refused == ()


def test_a_version_that_is_spoilt_while_it_is_served_goes_on(models: Path, verifier: Verifier) -> None:
    live = Live(models, verifier)
    (models / "signal" / "1" / "manifest.json").write_text("{")
    live.look()
    assert live.encoded() == 2
    assert live.registry.refused[0].folder == "signal/1"


def test_a_removed_version_is_not_found_and_its_requests_end_on_it(models: Path) -> None:
    write(models, 2, times=3)
    live = Live(models, None)
    held = live.registry.get("signal")
    shutil.rmtree(models / "signal" / "2")
    live.look()
    assert live.encoded() == 2
    assert held.encode(np.ones((1, 6), np.float32))[0, 0] == 3
    (models / "signal" / "1").rename(models / "signal" / ".1")
    live.look()
    assert live.registry.names == ()


def test_a_models_folder_that_is_gone_changes_nothing(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    live = Live(models, None)
    models.rename(models.with_name("away"))
    live.look(3)
    assert live.encoded() == 2
    assert len([record for record in caplog.records if "cannot be read" in record.message]) == 1


def test_a_file_default_pins_a_version(models: Path) -> None:
    write(models, 2, times=3)
    live = Live(models, None)
    default = models / "signal" / "default"
    for text, answer, pinned, reported in (
        ("1\n", 2, True, ()),
        ("9", 3, False, ("signal/default says 9, which is not served; its highest, 2, is served",)),
        ("latest", 3, False, ("signal/default must hold one whole number, a version; its highest version is served",)),
        ("1", 2, True, ()),
    ):
        default.write_text(text)
        live.look(1)
        assert (live.encoded(), live.registry.pinned("signal")) == (answer, pinned)
        assert tuple(refusal.reason for refusal in live.registry.refused) == reported
    write(models, 3, times=4)
    live.look()
    assert live.encoded() == 2
    assert live.encoded("3") == 4
    default.unlink()
    live.look(1)
    assert live.encoded() == 4


def until(what: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_the_running_service_swaps_versions_and_tells(models: Path) -> None:
    with TestClient(create_app(Settings(models=models, watch=0.05))) as client:

        def version() -> int:
            answer = client.post("/v1/models/signal/encode", json=ROW)
            assert answer.status_code == 200
            document = answer.json()
            assert document["latents"] == [[n * (document["version"] + 1) for n in ROW["inputs"][0]]]  # never mixed
            return int(document["version"])

        assert version() == 1
        write(models, 2, times=3)
        until(lambda: version() == 2)
        bad = write(models, 3, times=4)
        (bad / "golden.npz").write_bytes(b"")
        until(lambda: bool(client.get("/v1/models").json()["refused"]))
        assert version() == 2
        (models / "signal" / "default").write_text("1")
        until(lambda: version() == 1)
        (summary,) = client.get("/v1/models").json()["models"]
        assert (summary["version"], summary["versions"], summary["pinned"]) == (1, [1, 2], True)
        facts = client.get("/v1/models/signal/versions/2").json()
        assert facts["providers"] == {"encoder": "cpu", "decoder": "cpu"}
        shutil.rmtree(models / "signal" / "2")
        until(lambda: client.post("/v1/models/signal/versions/2/encode", json=ROW).status_code == 404)


def test_retired_models_leave_no_lane_behind(models: Path) -> None:
    write(models, 2, times=3)
    with TestClient(create_app(Settings(models=models, watch=0.05))) as client:
        assert client.post("/v1/models/signal/encode", json=ROW).json()["version"] == 2
        inference = client.app.state.inference  # type: ignore[attr-defined]
        assert {model.manifest.version for model, _ in inference._lanes} == {2}
        shutil.rmtree(models / "signal" / "2")
        until(lambda: not inference._lanes)


# --- the golden pair, and the verifier -------------------------------------------------------------------


def test_a_graph_that_answers_otherwise_is_refused_by_its_golden_pair(models: Path, verifier: Verifier) -> None:
    directory = models / "signal" / "1"
    other = doubles.vector_graphs()["encoder"]
    other.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.array(2.1, np.float32), "two"))
    data = other.SerializeToString()
    (directory / "encoder.onnx").write_bytes(data)
    facts = json.loads((directory / "manifest.json").read_text())
    facts["graphs"]["encoder"]["sha256"] = package.sha256(data)
    (directory / "manifest.json").write_text(json.dumps(facts))
    with pytest.raises(Unverified, match="encoder on cpu does not answer its golden input"):
        verifier.verify(directory)
    assert open_all(models, "cpu", required=False).refused[0].folder == "signal/1"  # without a verifier too


def test_a_package_from_before_golden_pairs_is_served(tmp_path: Path, verifier: Verifier) -> None:
    verifier.verify(doubles.write(tmp_path, "signal", doubles.vector_graphs()))


@pytest.mark.parametrize("kind", ["image", "any size", "any size in eight bits"])
def test_every_kind_of_package_has_a_golden_pair(tmp_path: Path, verifier: Verifier, kind: str) -> None:
    graphs: Any = doubles.image_graphs() if kind == "image" else doubles.convolutional_graphs(3)
    changes: Any = {"kind": "denoising", "operations": ("denoise",), "reconstruction_error_quantiles": None}
    if kind.endswith("bits"):
        graphs["denoiser-int8"] = graphs["denoiser"]
    directory = write_with_golden(tmp_path, "small", graphs, **({} if kind == "image" else changes))
    verifier.verify(directory)
    with np.load(directory / "golden.npz") as stored:
        assert sorted(stored.files) == sorted(f"{role}.{end}" for role in graphs for end in ("input", "output"))
        assert all(stored[name].any() for name in stored.files)


def test_a_golden_file_that_is_none_is_refused(models: Path) -> None:
    directory = models / "signal" / "1"
    opened = package.read(directory)
    model = Model(opened)
    with np.load(directory / "golden.npz") as stored:
        arrays = dict(stored)
    for made in (
        b"", b"PK\x03\x04", opened.golden[:-30] if opened.golden else b"",
        saved(np.savez_compressed, arrays, directory), saved(np.savez, {"encoder.input": np.zeros(3)}, directory),
        saved(np.savez, {**arrays, "encoder.input": np.array([None])}, directory),
        saved(np.savez, {**arrays, "encoder.output": np.full((2, 6), np.nan, np.float32)}, directory),
        saved(np.savez, {**arrays, "encoder.output": np.zeros((1, 6), np.float32)}, directory),
    ):  # fmt: skip
        spoilt = package.Package(opened.manifest, opened.graphs, opened.ports, made)
        with pytest.raises(GoldenMismatch, match=r"golden"):
            golden.check(spoilt, model)


def saved(how: Any, arrays: dict[str, np.ndarray], folder: Path) -> bytes:
    path = folder / "x.npz"
    how(path, **arrays)
    data = path.read_bytes()
    path.unlink()
    return data


def test_a_helper_that_died_is_started_again(models: Path, verifier: Verifier) -> None:
    verifier.verify(models / "signal" / "1")
    assert verifier._helper is not None
    verifier._helper.kill()
    verifier._helper.wait()
    verifier.verify(models / "signal" / "1")


@pytest.mark.parametrize(("arguments", "code", "words"), [
    (["verify"], 1, ("good signal/1", "bad  signal/2: signal/2/decoder.onnx has SHA-256")),
    (["verify", "signal/1"], 0, ("good signal/1",)),
    (["card", "signal/1"], 0, ("# double",)),
    (["card", "signal/7"], 2, ("there is no package 'signal/7'; there are: signal/1, signal/2",)),
    (["card"], 2, ("models card wants NAME or NAME/VERSION",)),
    ([], 1, ("signal", "refused: signal/2/decoder.onnx")),
])  # fmt: skip
def test_models_from_the_command_line(
    models: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: tuple[str, ...]
) -> None:
    (write(models, 2) / "decoder.onnx").write_bytes(b"")
    assert main(["models", *arguments, "--models", str(models)]) == code
    said = "".join(capsys.readouterr())
    assert all(word in said for word in words), said


# --- providers, told truthfully --------------------------------------------------------------------------


class Fallen:
    """What onnxruntime gives when a GPU was asked for and does not start."""

    def __init__(self, graph: bytes, options: Any, providers: Any) -> None:
        self.asked = providers

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]


def test_a_silent_fallback_is_fatal_when_the_provider_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.model.providers.onnxruntime.InferenceSession", Fallen)
    available = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("service.model.providers.onnxruntime.get_available_providers", lambda: available)
    monkeypatch.setattr("service.model.providers.onnxruntime.preload_dlls", lambda: None)
    for provider in ("auto", "cuda"):  # auto asks for the best that is compiled in
        session = open_session(b"", provider, 1, required=False)
        assert session.asked[0] == ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC"})
        with pytest.raises(ProviderMissing, match=r"compiled in, but did not start; cpu runs.*NVIDIA driver"):
            open_session(b"", provider, 1, required=True)


def test_a_missing_library_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "capi").mkdir()
    (tmp_path / "capi" / "libonnxruntime_providers_cuda.so").write_bytes(b"")

    def load(path: str) -> None:
        raise OSError("libcublasLt.so.13: cannot open shared object file: No such file or directory")

    monkeypatch.setattr("service.model.providers.onnxruntime.__file__", str(tmp_path / "__init__.py"))
    monkeypatch.setattr(
        "service.model.providers.onnxruntime.get_available_providers", lambda: list(providers.PROVIDERS.values())
    )
    monkeypatch.setattr("service.model.providers.ctypes.CDLL", load)
    providers._missing_library.cache_clear()
    said = fallback("cuda", "cpu") or ""
    providers._missing_library.cache_clear()
    assert "libcublasLt.so.13 is missing; cpu runs): install its CUDA and cuDNN libraries" in said
    assert len(said.splitlines()) == 1


def test_what_was_obtained_needs_no_sentence() -> None:
    assert fallback("cpu", "cpu") is None
    assert fallback("auto", "cpu") is None  # this onnxruntime has nothing better
    assert "this onnxruntime has cpu; cpu runs): install onnxruntime-openvino" in (fallback("openvino", "cpu") or "")


def test_a_fallback_is_logged_when_the_provider_is_not_required(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    opened = Opener("cuda").open(models / "signal" / "1")
    assert isinstance(opened, Model)
    assert "signal/1 is open on cpu, fp32 (asked for: cuda)" in caplog.text
    assert "provider cuda was asked for and does not run here" in caplog.text


def test_a_provider_that_is_required_refuses_a_live_package_and_the_old_one_goes_on(models: Path) -> None:
    live = Live(models, None)
    live.watcher._opener = Opener("cuda", required=True)
    write(models, 2, times=3)
    live.look()
    assert live.encoded() == 2
    assert "provider cuda was asked for" in live.registry.refused[0].reason


def test_telemetry_is_off_before_the_runtime_is_imported() -> None:

    code = (
        "import service, os, sys; assert 'onnxruntime' not in sys.modules; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("ORT_", "COV"))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=plain, check=True)
    assert done.stdout.strip() == "1"


def test_the_registry_is_empty_when_nothing_is_there() -> None:
    registry = Registry({}, (Refusal("a/1", "no"),))
    assert (registry.names, registry.refused) == ((), (Refusal("a/1", "no"),))
