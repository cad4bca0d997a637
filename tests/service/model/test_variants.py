"""Variants: what there is to choose from, and that the fastest is chosen; OpenVINO itself where it is installed."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.model import golden, providers, variants
from service.model.package import read
from service.model.runtime import Model
from service.model.variants import Variant, choose_fastest, list_variants

ROOT = Path(__file__).parents[3]
HAS_OPENVINO = "openvino" in providers.compiled_providers()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    def set_machine(*compiled: str, int8: bool = True, bf16: bool = True) -> None:
        monkeypatch.setattr(variants, "compiled_providers", lambda: compiled)
        monkeypatch.setattr(variants, "has_int8_instructions", lambda: int8)
        monkeypatch.setattr(variants, "has_bf16_instructions", lambda: bf16)

    return set_machine


def test_without_openvino_there_is_nothing_to_choose(machine: Any) -> None:
    machine("cpu")
    assert list_variants("auto", "auto", has_int8_graph=True) == [Variant("auto", "int8")]
    assert list_variants("auto", "auto", has_int8_graph=False) == [Variant("auto", "fp32")]
    assert list_variants("auto", "fp32", has_int8_graph=True) == [Variant("auto", "fp32")]
    assert list_variants("auto", "bf16", has_int8_graph=True) == [Variant("auto", "fp32")]
    machine("cpu", int8=False)
    assert list_variants("auto", "auto", has_int8_graph=True) == [Variant("auto", "fp32")]
    assert list_variants("auto", "int8", has_int8_graph=True) == [Variant("auto", "int8")]


def test_a_gpu_is_never_measured_against_the_cpu(machine: Any) -> None:
    machine("cuda", "openvino", "cpu")
    assert list_variants("auto", "fp32", has_int8_graph=True) == [Variant("auto", "fp32")]


def test_with_openvino_all_that_the_processor_has_is_tried(machine: Any) -> None:
    machine("openvino", "cpu")
    cpu, bf16, int8 = Variant("cpu", "int8"), Variant("openvino", "bf16"), Variant("openvino", "int8")
    assert list_variants("auto", "auto", has_int8_graph=True) == [cpu, bf16, int8]
    assert list_variants("auto", "int8", has_int8_graph=True) == [cpu, int8]
    assert list_variants("auto", "bf16", has_int8_graph=True) == [bf16]
    assert list_variants("openvino", "auto", has_int8_graph=False) == [bf16]
    assert list_variants("cpu", "auto", has_int8_graph=True) == [cpu]
    machine("openvino", "cpu", int8=False, bf16=False)
    fp32 = [Variant("cpu", "fp32"), Variant("openvino", "fp32")]
    assert list_variants("auto", "auto", has_int8_graph=True) == fp32
    assert list_variants("auto", "fp32", has_int8_graph=True) == fp32


def test_the_fastest_is_chosen_and_the_first_round_does_not_count() -> None:
    calls = {"slow": 0, "fast": 0}

    def run(name: str, first: float, later: float) -> None:
        calls[name] += 1
        time.sleep(first if calls[name] <= 2 else later)

    runs = {"slow": lambda: run("slow", 0, 0.05), "fast": lambda: run("fast", 0.2, 0.001)}
    chosen, seconds = choose_fastest(runs, 2)
    assert chosen == "fast"
    assert seconds["fast"] < seconds["slow"]
    assert calls == {"slow": 2 * (variants.ROUNDS + 1), "fast": 2 * (variants.ROUNDS + 1)}


def test_a_processor_says_whether_it_multiplies_bfloat16(tmp_path: Path) -> None:
    listed = tmp_path / "cpuinfo"
    for line, has in (("flags : avx512f avx512_bf16", True), ("flags : avx512f", False), ("Features : fp bf16", True)):
        listed.write_text(f"{line}\n")
        assert providers.has_bf16_instructions(listed) is has
    assert not providers.has_bf16_instructions(tmp_path / "none")


@pytest.mark.skipif(not HAS_OPENVINO, reason="onnxruntime-openvino is not installed in place of onnxruntime")
@pytest.mark.parametrize("name", ["photos", "pages"])
def test_openvino_answers_as_the_cpu_does(name: str) -> None:
    package = read(max((ROOT / "models" / name).iterdir(), key=lambda path: int(path.name)))
    image = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3), np.uint8)
    image = image[..., : package.sample.shape[3]]
    expected = Model(package, "cpu", precision="fp32").denoise(image).astype(int)
    for precision, tolerance in (("fp32", 1), ("bf16", 4)):
        model = Model(package, "openvino", 2, required=True, precision=precision)  # type: ignore[arg-type]
        assert (model.provider, model.precision) == ("openvino", precision)
        golden.verify(package, model)
        for wide in (False, True):
            assert np.abs(model.denoise(image, wide=wide) - expected).max() <= tolerance
    measured = Model(package, "auto", 2)
    assert len(measured.run_seconds) > 1
    fastest = min(measured.run_seconds, key=lambda variant: measured.run_seconds[variant])
    assert (measured.provider, measured.precision) == fastest
