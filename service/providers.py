"""Which execution provider runs a graph: asked for, and really obtained.

`onnxruntime.get_available_providers()` lists what was compiled in, even without a driver, and a session asked for
CUDA silently becomes a CPU session. What counts is what the session says after it was made.
"""

import math
import os
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
_AUTO = ("cuda", "openvino", "cpu")  # TensorRT builds engines for minutes: only when asked for by name


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
        ProviderMissing: `required` and the session does not run on `provider`.
        SessionFailed: the runtime does not take the graph.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # batch sizes vary: best memory and speed, FINDINGS "varying shapes"
    options.log_severity_level = 3  # a fallback is reported below, by name, not as a line on stderr
    compiled = onnxruntime.get_available_providers()
    wanted = _AUTO if provider == "auto" else dict.fromkeys((provider, "cpu"))
    names = [PROVIDERS[p] for p in wanted if PROVIDERS[p] in compiled]
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=names)
    except Exception as failure:  # onnxruntime's exceptions share no other base class
        raise SessionFailed((str(failure).splitlines() or [""])[0][:300]) from failure
    if required and provider not in ("auto", obtained(session)):
        have = ", ".join(short for short, full in PROVIDERS.items() if full in compiled)
        raise ProviderMissing(
            f"provider {provider} was asked for and does not run here (this onnxruntime has: {have}); "
            f"install the onnxruntime build and driver for {provider}, or set AUTOENCODER_PROVIDER=auto"
        )
    return session


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
