"""Which execution provider runs a graph: asked for, and really obtained.

`onnxruntime.get_available_providers()` lists what was compiled in, even without a driver, and a session asked for
CUDA silently becomes a CPU session. What counts is what the session says after it was made. Telemetry is off:
service/__init__.py says so before onnxruntime is imported, and so does this file after it.
"""

import contextlib
import ctypes
import functools
import io
import math
import os
import re
from pathlib import Path
from typing import Literal

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import: the Linux builds send telemetry since 1.29

import onnxruntime

Provider = Literal["auto", "cpu", "cuda", "tensorrt", "openvino"]
Precision = Literal["auto", "fp32", "int8"]

PROVIDERS: dict[str, str] = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
_OPTIONS: dict[str, dict[str, str]] = {  # DEFAULT, which is the default, is 4 to 50 times slower on new shapes
    "cuda": {"cudnn_conv_algo_search": "HEURISTIC"},
}
_GET: dict[str, str] = {  # what brings a provider here
    "cuda": "install onnxruntime-gpu in place of onnxruntime",
    "tensorrt": "install onnxruntime-gpu in place of onnxruntime, and TensorRT",
    "openvino": "install onnxruntime-openvino in place of onnxruntime",
    "cpu": "install onnxruntime",
}
_MEND: dict[str, str] = {  # compiled in, and yet it does not run
    "cuda": "install its CUDA and cuDNN libraries (pip install 'onnxruntime-gpu[cuda,cudnn]') and the NVIDIA driver, "
    "and give the container the GPU (docker run --gpus all)",
    "tensorrt": "install the TensorRT, CUDA and cuDNN that this onnxruntime-gpu wants, and the NVIDIA driver",
    "openvino": "install the openvino version that this onnxruntime-openvino wants",
    "cpu": "reinstall onnxruntime",
}
_LIBRARY = {
    "cuda": "libonnxruntime_providers_cuda.so",
    "tensorrt": "libonnxruntime_providers_tensorrt.so",
    "openvino": "libonnxruntime_providers_openvino.so",
}
_AUTO = ("cuda", "openvino", "cpu")  # TensorRT builds engines for minutes: only when asked for by name


onnxruntime.disable_telemetry_events()


class ProviderMissing(Exception):
    """The provider that was asked for does not run here; the message says what does, and the remedy."""


class SessionFailed(Exception):
    """The runtime refused a graph; the message is the first line of what it said."""


def open_session(graph: bytes, provider: Provider, threads: int, *, required: bool) -> onnxruntime.InferenceSession:
    """An onnxruntime session of a self-contained graph.

    Args:
        graph: ONNX bytes, already verified.
        provider: what to ask for; `auto` takes the best that is compiled in.
        threads: threads inside one run, at least 1.
        required: refuse a session that fell back to another provider.
    Raises:
        ProviderMissing: `required` and the session does not run on `provider` (`auto`: on the best compiled in).
        SessionFailed: the runtime does not take the graph.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # batch sizes vary: best memory and speed, FINDINGS "varying shapes"
    options.log_severity_level = 3  # a fallback is reported below, by name, not as a line on stderr
    here = compiled_in()
    wanted = _AUTO if provider == "auto" else dict.fromkeys((provider, "cpu"))
    asked = [(PROVIDERS[p], _OPTIONS.get(p, {})) for p in wanted if p in here]
    _preload()
    try:
        # it prints its fallback, which `fallback` says better
        with contextlib.redirect_stdout(io.StringIO()) if len(asked) > 1 else contextlib.nullcontext():
            session = onnxruntime.InferenceSession(graph, options, providers=asked)
    except Exception as failure:  # onnxruntime's exceptions share no other base class
        raise SessionFailed((str(failure).splitlines() or [""])[0][:300]) from failure
    missed = fallback(provider, obtained(session))
    if required and missed is not None:
        raise ProviderMissing(f"{missed}, or set AUTOENCODER_REQUIRE_PROVIDER=false to do without")
    return session


def compiled_in() -> tuple[str, ...]:
    """Short names of the providers that this onnxruntime was built with, best first; they need not run here."""
    available = onnxruntime.get_available_providers()
    return tuple(short for short, full in PROVIDERS.items() if full in available)


def fallback(provider: Provider, got: str) -> str | None:
    """One sentence with the remedy, if what runs is not what was asked for; None if it is.

    Args:
        provider: asked for; `auto` asks for the best that is compiled in.
        got: what a model says it runs on (`obtained`, of all its sessions).
    """
    here = compiled_in()
    wanted = next((p for p in _AUTO if p in here), "cpu") if provider == "auto" else provider
    if got == wanted:
        return None
    if wanted not in here:
        why = f"this onnxruntime has {', '.join(here) or 'none'}"
        remedy = _GET[wanted]
    else:
        library = _missing_library(wanted)
        why = f"it is compiled in, but {library} is missing" if library else "it is compiled in, but did not start"
        remedy = _MEND[wanted]
    return f"provider {wanted} was asked for and does not run here ({why}; {got} runs): {remedy}"


@functools.cache
def _preload() -> None:
    """CUDA's and cuDNN's libraries from their wheels, if there are any: before the first session, once."""
    if "cuda" in compiled_in() and hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it lacks, and never raises
            onnxruntime.preload_dlls()


@functools.cache
def _missing_library(provider: str) -> str | None:
    """The first shared library that the provider's own needs and the system does not find."""
    path = Path(onnxruntime.__file__).parent / "capi" / _LIBRARY.get(provider, "")
    if not path.is_file():
        return None
    try:
        ctypes.CDLL(str(path))
    except OSError as error:
        found = re.match(r"(lib[\w.+-]+): cannot open shared object file", str(error))
        return found[1] if found else None
    return None


def eight_bit_instructions(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor multiplies eight-bit numbers faster than floats: VNNI (x86), dot product (Arm).

    Without them quantised graphs are slower, and on older x86 their sums may saturate.

    Args:
        cpuinfo: Linux's list of what each core can do; where there is none the answer is no.
    """
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    words = {word for line in lines if line.startswith(("flags", "Features")) for word in line.split()}
    return bool(words & {"avx512_vnni", "avx_vnni", "asimddp"})


def obtained(session: onnxruntime.InferenceSession) -> str:
    """The short name of the provider that the session really uses first: cpu, cuda, tensorrt, openvino."""
    first = session.get_providers()[0]
    return next((short for short, full in PROVIDERS.items() if full == first), first)


def usable_cores(cpu_max: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Cores that this process may use: affinity and the container's quota; onnxruntime itself looks at neither.

    Args:
        cpu_max: the cgroup v2 file "QUOTA PERIOD" in microseconds, or "max PERIOD".
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    try:
        quota, period = cpu_max.read_text().split()
        if quota != "max":
            cores = min(cores, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # no cgroup v2: nothing to respect
        pass
    return max(1, cores)
