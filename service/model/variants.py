"""Variants of a model: the pairs of provider and precision that can run it, and the fastest of them by measurement.

requested provider, requested precision -> list_variants -> [one tile each, in turns] -> choose_fastest -> Variant

Only where onnxruntime was built with OpenVINO is there anything to choose. Neither the name of a provider nor that of a
precision says which is faster: it depends on the graph and on the processor, by a factor of three both ways.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple, TypeVar

from service.model.providers import (
    Precision,
    Provider,
    compiled_providers,
    has_bf16_instructions,
    has_int8_instructions,
)

ROUNDS = 3  # of measurement, of which the best counts: other programs use the machine too

ComputedPrecision = Literal["fp32", "int8", "bf16"]
Key = TypeVar("Key")


class Variant(NamedTuple):
    """A provider, and what a denoiser is computed in: its graph in fp32, the same in bf16, or its int8 graph."""

    provider: Provider
    precision: ComputedPrecision = "fp32"


def list_variants(provider: Provider, precision: Precision, *, has_int8_graph: bool) -> list[Variant]:
    """All variants that the settings allow and this machine can run, at least one; the first is the usual one.

    Args:
        provider, precision: as requested. `auto` stands for every one that runs well here. A precision that the
            provider does not have gives fp32.
        has_int8_graph: whether the package has a denoiser in int8.
    """
    compiled_names = compiled_providers()
    if provider == "auto" and "cuda" not in compiled_names and "openvino" in compiled_names:
        providers: tuple[Provider, ...] = ("cpu", "openvino")
    else:
        providers = (provider,)
    variants = []
    for name in providers:
        precisions = _list_precisions(name, precision, has_int8_graph=has_int8_graph)
        variants += [Variant(name, found) for found in precisions]
    wanted = [variant for variant in variants if variant.precision == precision]
    return wanted or variants


def _list_precisions(
    provider: Provider, precision: Precision, *, has_int8_graph: bool
) -> tuple[ComputedPrecision, ...]:
    is_auto = precision == "auto"
    uses_int8 = has_int8_graph and (precision == "int8" or (is_auto and has_int8_instructions()))
    if provider == "openvino":
        uses_bf16 = precision == "bf16" or (is_auto and has_bf16_instructions())
        found: list[ComputedPrecision] = ["bf16"] if uses_bf16 else ["fp32"]
        return (*found, "int8") if uses_int8 else tuple(found)
    # a session that asks for a GPU, and falls back to the CPU, uses the int8 graph too: service.model.runtime
    return ("int8",) if uses_int8 else ("fp32",)


def choose_fastest(runs: Mapping[Key, Callable[[], object]], parallel_runs: int) -> tuple[Key, dict[Key, float]]:
    """The key whose function ends first, and the seconds of each; several calls run side by side, as in the service.

    Each function is called `parallel_runs` times in ROUNDS + 1 rounds, in turns with the others; the first, in which
    memory is allocated, does not count.
    """
    seconds = dict.fromkeys(runs, float("inf"))
    with ThreadPoolExecutor(parallel_runs) as pool:
        for number in range(ROUNDS + 1):
            for key, run in runs.items():
                start = time.perf_counter()
                for future in [pool.submit(run) for _ in range(parallel_runs)]:
                    future.result()
                if number:
                    seconds[key] = min(seconds[key], time.perf_counter() - start)
    return min(seconds, key=lambda key: seconds[key]), seconds
