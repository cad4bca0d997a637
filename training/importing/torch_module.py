"""A torch module that a function of the user's builds, with weights from safetensors, as ONNX graphs.

module.py:build -> module -> safetensors -> encode and decode, or one graph -> torch.onnx.export -> foreign graphs

The module's code is run, as the user asks; weights are never unpickled.
"""

import hashlib
import importlib
import importlib.util
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from training.errors import ImportRefused
from training.importing.foreign_graph import ForeignGraph, Runner, prepare, read_file
from training.importing.probes.sizes import is_same

OPSET = 20
PARITY = 1e-3  # largest difference of the graph from the module, as a share of the largest magnitude


class _Call(nn.Module):
    """A method of a module as a module."""

    def __init__(self, module: nn.Module, method: str) -> None:
        super().__init__()
        self.module, self.method = module, method

    def forward(self, sample: Tensor) -> Tensor:
        answer: Tensor = getattr(self.module, self.method)(sample)
        return answer


def export(target: str, weights: Path | None, shape: tuple[int, ...]) -> dict[str, ForeignGraph]:
    """`encoder` and `decoder` of a module that has the methods or submodules, else one graph `denoiser`.

    Args:
        target: "path/module.py:build" or "package.module:build"; build() returns a torch module.
        shape: of one sample, (C, H, W) or (D,).
    Raises:
        ImportRefused: in one sentence, with the remedy.
    """
    module, files = _build(target)
    if weights is not None:
        files |= _load_weights(module, weights)
    module = module.eval().float()
    sample = torch.rand((2, *shape), generator=torch.Generator().manual_seed(0))
    pair = next((p for p in (("encode", "decode"), ("encoder", "decoder")) if all(_has(module, n) for n in p)), None)
    label = target.rpartition(":")[0].rpartition("/")[2]
    if pair is None:
        return {"denoiser": export_module(module, "forward", sample, f"{label} forward", files)}
    encoder = export_module(module, pair[0], sample, f"{label} {pair[0]}", files)
    latent = torch.from_numpy(Runner(encoder.original, label).run({"sample": sample.numpy()}, "answer"))
    return {"encoder": encoder, "decoder": export_module(module, pair[1], latent, f"{label} {pair[1]}", files)}


def _has(module: nn.Module, name: str) -> bool:
    return callable(getattr(module, name, None))


def _build(target: str) -> tuple[nn.Module, dict[str, str]]:
    place, colon, name = target.rpartition(":")
    if not colon:
        raise ImportRefused(f"--torch {target}: write module.py:build, where build() returns the module")
    code, files = _import(place)
    build: Callable[[], object] | None = getattr(code, name, None)
    if not callable(build):
        raise ImportRefused(f"{place} has no function {name}; it must return the torch module")
    try:
        module = build()
    except Exception as error:  # whatever the user's code raises
        raise ImportRefused(f"{target} failed: {type(error).__name__}: {error}") from error
    if not isinstance(module, nn.Module):
        raise ImportRefused(f"{target} returned {type(module).__name__}; it must return a torch.nn.Module")
    return module, files


def _import(place: str) -> tuple[ModuleType, dict[str, str]]:
    """A module by its file, or by its dotted name."""
    path = Path(place)
    try:
        if path.suffix != ".py":
            return importlib.import_module(place), {}
        data = path.read_bytes()
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise ImportRefused(f"{place} is no Python module")  # noqa: TRY301
        module = importlib.util.module_from_spec(spec)
        sys.path.insert(0, str(path.parent.resolve()))  # its neighbours
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
    except ImportRefused:
        raise
    except Exception as error:  # whatever the user's code raises
        raise ImportRefused(f"{place} cannot be imported: {type(error).__name__}: {error}") from error
    return module, {path.name: hashlib.sha256(data).hexdigest()}


def _load_weights(module: nn.Module, path: Path) -> dict[str, str]:
    data = read_file(path)
    try:
        missing, unexpected = module.load_state_dict(load_file(path), strict=False)
    except (SafetensorError, RuntimeError) as error:  # no safetensors; or tensors of other shapes
        raise ImportRefused(f"{path.name} does not fit the module: {' '.join(str(error).split())[:300]}") from error
    if missing or unexpected:
        parts = [
            f"{what} {', '.join(names[:3])}" for what, names in (("without", missing), ("with", unexpected)) if names
        ]
        raise ImportRefused(
            f"{path.name} does not fit the module: {'; '.join(parts)}; build() must return the same one"
        )
    return {path.name: hashlib.sha256(data).hexdigest()}


def export_module(module: nn.Module, method: str, sample: Tensor, label: str, files: dict[str, str]) -> ForeignGraph:
    """The method's graph, all axes as free as torch's exporter finds them; it agrees with torch on `sample`."""
    call = _Call(module, method).eval()
    try:
        with torch.inference_mode():
            answer = call(sample)
    except Exception as error:  # whatever the user's code raises
        raise ImportRefused(f"{label} fails on {list(sample.shape)}: {type(error).__name__}: {error}") from error
    if not isinstance(answer, Tensor):
        raise ImportRefused(f"{label} returns {type(answer).__name__}; it must return one tensor (of a VAE, the mean)")
    failure: Exception | None = None
    batch_axes = {0: torch.export.Dim.AUTO}
    all_axes = batch_axes | (dict.fromkeys((2, 3), torch.export.Dim.AUTO) if sample.ndim == 4 else {})
    for axes in (all_axes, batch_axes):
        try:
            model = _export_once(call, sample, axes)
        except Exception as error:  # noqa: BLE001  (the exporter has no base class of its own)
            failure = error
            continue
        graph = prepare(model, label, dict(files))
        actual = Runner(graph.original, label).run({"sample": sample.numpy()}, "answer")
        if is_same(actual, np.asarray(answer), PARITY):
            return graph
    raise ImportRefused(
        f"{label} cannot be exported to ONNX: {' '.join(str(failure).split())[:200]}; "
        "export it yourself, and give --denoiser, or --encoder and --decoder"
    )


def _export_once(call: nn.Module, sample: Tensor, axes: dict[int, object]) -> onnx.ModelProto:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            call, (sample,), dynamo=True, dynamic_shapes=(axes,), input_names=["sample"], output_names=["answer"],
            opset_version=OPSET, verbose=False, artifacts_dir=folder,
        )  # fmt: skip
    if program is None:
        raise ImportRefused("torch's exporter returned nothing")
    return program.model_proto
