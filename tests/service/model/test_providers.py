"""Execution providers: fallback, missing libraries, cores."""

from pathlib import Path
from typing import Any

import pytest

from service.model import providers
from service.model.package import read
from service.model.providers import ProviderMissing, count_usable_cores, describe_fallback, open_session
from service.model.runtime import Model


def test_a_provider_that_is_not_here_falls_back_unless_it_is_required(models: Path) -> None:
    package = read(models / "signal" / "1")
    assert Model(package, "cuda").provider == "cpu"
    with pytest.raises(ProviderMissing, match="provider cuda was asked for and does not run here"):
        Model(package, "cuda", required=True)


def test_a_processor_says_whether_it_multiplies_eight_bit_numbers(tmp_path: Path) -> None:
    listed = tmp_path / "cpuinfo"
    for line, has in (("flags : fpu avx512_vnni", True), ("flags : fpu avx2", False), ("Features : fp asimddp", True)):
        listed.write_text(f"processor : 0\n{line}\nbugs : avx_vnni\n")
        assert providers.has_int8_instructions(listed) is has
    assert not providers.has_int8_instructions(tmp_path / "none")


def test_cores_follow_the_containers_quota(tmp_path: Path) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text("100000 100000\n")
    assert count_usable_cores(quota) == 1
    quota.write_text("max 100000\n")
    assert count_usable_cores(quota) == count_usable_cores(tmp_path / "none") >= 1
    assert providers.PROVIDERS["cpu"] == "CPUExecutionProvider"


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
    sentence = describe_fallback("cuda", "cpu") or ""
    providers._missing_library.cache_clear()
    assert "libcublasLt.so.13 is missing; cpu runs): install its CUDA and cuDNN libraries" in sentence
    assert len(sentence.splitlines()) == 1


def test_what_was_obtained_needs_no_sentence() -> None:
    assert describe_fallback("cpu", "cpu") is None
    assert describe_fallback("auto", "cpu") is None  # this onnxruntime has nothing better
    assert "this onnxruntime has cpu; cpu runs): install onnxruntime-openvino" in (
        describe_fallback("openvino", "cpu") or ""
    )
