"""Execution providers of onnxruntime: the requested one, and the one that a session really uses.

graph, requested provider -> open_session -> session -> actual_provider -> describe_fallback, where they differ

`onnxruntime.get_available_providers()` lists the providers that were compiled in, even without a driver, and a session
that requests CUDA silently becomes a CPU session. Only the session itself knows what it uses. Telemetry is disabled:
by service/__init__.py before onnxruntime is imported, and here after it.
"""

import contextlib
import ctypes
import functools
import io
import json
import math
import os
import re
from pathlib import Path
from typing import Literal

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import: the Linux builds send telemetry since 1.29

import onnxruntime

Provider = Literal["auto", "cpu", "cuda", "tensorrt", "openvino"]
Precision = Literal["auto", "fp32", "int8", "bf16"]

PROVIDERS: dict[str, str] = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
_INSTALL_HINTS: dict[str, str] = {  # for a provider that is not compiled in
    "cuda": "install onnxruntime-gpu in place of onnxruntime",
    "tensorrt": "install onnxruntime-gpu in place of onnxruntime, and TensorRT",
    "openvino": "install onnxruntime-openvino in place of onnxruntime",
    "cpu": "install onnxruntime",
}
_REPAIR_HINTS: dict[str, str] = {  # for a provider that is compiled in and does not run
    "cuda": "install its CUDA and cuDNN libraries (pip install 'onnxruntime-gpu[cuda,cudnn]') and the NVIDIA driver, "
    "and give the container the GPU (docker run --gpus all)",
    "tensorrt": "install the TensorRT, CUDA and cuDNN that this onnxruntime-gpu wants, and the NVIDIA driver",
    "openvino": "install the openvino version that this onnxruntime-openvino wants",
    "cpu": "reinstall onnxruntime",
}
_LIBRARIES = {
    "cuda": "libonnxruntime_providers_cuda.so",
    "tensorrt": "libonnxruntime_providers_tensorrt.so",
    "openvino": "libonnxruntime_providers_openvino.so",
}
# of `auto`. TensorRT builds engines for minutes: only when requested by name. OpenVINO is slower or faster than the CPU
# provider, by model and processor: service.model.variants measures
_AUTO_ORDER = ("cuda", "cpu")


onnxruntime.disable_telemetry_events()


class ProviderMissing(Exception):
    """The requested provider does not run here; the message names the one that does, and the remedy."""


class SessionFailed(Exception):
    """onnxruntime rejected a graph; the message is the first line of its own."""


def open_session(
    graph: bytes,
    provider: Provider,
    threads: int,
    *,
    required: bool,
    parallel_runs: int = 1,
    precision: Literal["fp32", "bf16"] = "fp32",
) -> onnxruntime.InferenceSession:
    """An onnxruntime session of a self-contained graph.

    Args:
        graph: ONNX bytes, already verified.
        provider: the requested one; `auto` is the best that is compiled in, and never OpenVINO.
        threads: threads inside one run, at least 1.
        required: reject a session that fell back to another provider.
        parallel_runs: at most, of this session. OpenVINO sets up its threads for them; others need not know.
        precision: of OpenVINO's multiplications.
    Raises:
        ProviderMissing: `required` and the session does not run on `provider` (`auto`: on the best compiled in).
        SessionFailed: onnxruntime rejects the graph.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # batch sizes vary: without it, memory and time are lower
    options.log_severity_level = 3  # a fallback is reported below, by name, and not on stderr
    compiled_names = compiled_providers()
    candidates = _AUTO_ORDER if provider == "auto" else dict.fromkeys((provider, "cpu"))
    provider_options = _provider_options(threads, parallel_runs, precision)
    providers = [(PROVIDERS[p], provider_options.get(p, {})) for p in candidates if p in compiled_names]
    _preload()
    try:
        # onnxruntime prints its fallback, which `describe_fallback` reports
        with contextlib.redirect_stdout(io.StringIO()) if len(providers) > 1 else contextlib.nullcontext():
            session = onnxruntime.InferenceSession(graph, options, providers=providers)
    except Exception as failure:  # onnxruntime's exceptions share no other base class
        raise SessionFailed((str(failure).splitlines() or [""])[0][:300]) from failure
    fallback_sentence = describe_fallback(provider, actual_provider(session))
    if required and fallback_sentence is not None:
        raise ProviderMissing(f"{fallback_sentence}, or set AUTOENCODER_REQUIRE_PROVIDER=false to do without")
    return session


def _provider_options(threads: int, parallel_runs: int, precision: str) -> dict[str, dict[str, str]]:
    """Options by the provider's short name."""
    openvino = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",  # else it takes bf16 where it can
        "NUM_STREAMS": str(parallel_runs),
        "INFERENCE_NUM_THREADS": str(threads * parallel_runs),
    }
    return {
        "cuda": {"cudnn_conv_algo_search": "HEURISTIC"},  # the default is 4 to 50 times slower on new shapes
        "openvino": {"device_type": "CPU", "load_config": json.dumps({"CPU": openvino})},
    }


def compiled_providers() -> tuple[str, ...]:
    """Short names of the providers that this onnxruntime was built with, best first; they need not run here."""
    available = onnxruntime.get_available_providers()
    return tuple(name for name, full_name in PROVIDERS.items() if full_name in available)


def describe_fallback(provider: Provider, actual: str) -> str | None:
    """One sentence with the remedy if the actual provider is not the requested one; None if it is.

    Args:
        provider: the requested one; `auto` is the best that is compiled in.
        actual: `actual_provider` of all sessions of a model.
    """
    compiled_names = compiled_providers()
    requested_name = next((p for p in _AUTO_ORDER if p in compiled_names), "cpu") if provider == "auto" else provider
    if actual == requested_name:
        return None
    if requested_name not in compiled_names:
        cause = f"this onnxruntime has {', '.join(compiled_names) or 'none'}"
        remedy = _INSTALL_HINTS[requested_name]
    else:
        library = _missing_library(requested_name)
        cause = f"it is compiled in, but {library} is missing" if library else "it is compiled in, but did not start"
        remedy = _REPAIR_HINTS[requested_name]
    return f"provider {requested_name} was asked for and does not run here ({cause}; {actual} runs): {remedy}"


@functools.cache
def _preload() -> None:
    """Load the libraries of CUDA and cuDNN from their wheels, if installed: once, before the first session."""
    if "cuda" in compiled_providers() and hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):  # it prints which ones are missing, and never raises
            onnxruntime.preload_dlls()


@functools.cache
def _missing_library(provider: str) -> str | None:
    """The first shared library that the provider's library needs and the system does not have."""
    path = Path(onnxruntime.__file__).parent / "capi" / _LIBRARIES.get(provider, "")
    if not path.is_file():
        return None
    try:
        ctypes.CDLL(str(path))
    except OSError as error:
        missing = re.match(r"(lib[\w.+-]+): cannot open shared object file", str(error))
        return missing[1] if missing else None
    return None


def has_int8_instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor multiplies eight-bit numbers faster than floats: VNNI (x86), dot product (Arm).

    Without them quantised graphs are slower, and on older x86 their sums may saturate.

    Args:
        cpuinfo: Linux's list of the features of each core; without it the result is False.
    """
    return bool(_read_cpu_features(cpuinfo) & {"avx512_vnni", "avx_vnni", "asimddp"})


def has_bf16_instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor multiplies bfloat16 numbers: AVX-512 BF16, AMX (x86), BF16 (Arm). `cpuinfo`: Linux's."""
    return bool(_read_cpu_features(cpuinfo) & {"avx512_bf16", "amx_bf16", "bf16"})


def _read_cpu_features(cpuinfo: Path) -> set[str]:
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return {word for line in lines if line.startswith(("flags", "Features")) for word in line.split()}


def actual_provider(session: onnxruntime.InferenceSession) -> str:
    """The short name of the provider that the session really uses first: cpu, cuda, tensorrt, openvino."""
    first = session.get_providers()[0]
    return next((name for name, full_name in PROVIDERS.items() if full_name == first), first)


def count_usable_cores(cpu_max: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores that this process may use, by affinity and the container's quota; onnxruntime itself considers neither.

    Args:
        cpu_max: the cgroup v2 file "QUOTA PERIOD" in microseconds, or "max PERIOD".
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    try:
        quota, period = cpu_max.read_text().split()
        if quota != "max":
            cores = min(cores, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no cgroup v2: no quota
        pass
    return max(1, cores)
