"""A torch module that a function of the user's builds, with weights from safetensors, as ONNX graphs.

module.py:build -> module -> safetensors -> encode and decode, or one graph -> torch.onnx.export -> foreign graphs
"""

import contextlib
import io
import logging
import re
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from training.errors import ImportRefused
from training.importing import module_code, module_weights
from training.importing.foreign_graph import ForeignGraph, Runner, prepare
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

    A U-Net has submodules `encoder` and `decoder` too, which pass several tensors: of such a module the whole is the
    graph.

    Args:
        target: "path/module.py:build" or "package.module:build"; build() returns a torch module, or is one.
        shape: of one sample, (C, H, W) or (D,).
    Raises:
        ImportRefused: in one sentence, with the remedy.
    """
    module, files = module_code.build(target)
    remarks: list[str] = []
    if weights is not None:
        found, remarks = module_weights.load_weights(module, weights)
        files |= found
    module = module.eval().float()
    sample = torch.rand((2, *shape), generator=torch.Generator().manual_seed(0))
    label = target.rpartition(":")[0].rpartition("/")[2]
    pair = next((p for p in (("encode", "decode"), ("encoder", "decoder")) if all(_has(module, n) for n in p)), None)
    if pair == ("encoder", "decoder") and _is_one_graph(module, sample):
        remarks.append(f"{label}: its encoder does not answer one tensor; the whole module was imported, by forward")
        pair = None
    if pair is None:
        graphs = {"denoiser": export_module(module, "forward", sample, f"{label} forward", files)}
    else:
        encoder = export_module(module, pair[0], sample, f"{label} {pair[0]}", files)
        latent = torch.from_numpy(Runner(encoder.original, label).run({"sample": sample.numpy()}, "answer"))
        graphs = {"encoder": encoder, "decoder": export_module(module, pair[1], latent, f"{label} {pair[1]}", files)}
    return {role: replace(graph, remarks=(*remarks, *graph.remarks)) for role, graph in graphs.items()}


def _has(module: nn.Module, name: str) -> bool:
    return callable(getattr(module, name, None))


def _is_one_graph(module: nn.Module, sample: Tensor) -> bool:
    """Whether only `forward` takes and answers one tensor, of the sample's shape: a U-Net, not a VAE of two halves."""
    try:
        with torch.inference_mode():
            latent = _Call(module, "encoder").eval()(sample)
    except Exception:  # noqa: BLE001  (whatever the user's code raises; a ModuleList has no forward)
        latent = None
    if isinstance(latent, Tensor) or (isinstance(latent, tuple) and len({tuple(part.shape) for part in latent}) == 1):
        return False
    try:
        with torch.inference_mode():
            answer = module(sample)
    except Exception:  # noqa: BLE001  (as above)
        return False
    return isinstance(answer, Tensor) and answer.shape == sample.shape


def export_module(module: nn.Module, method: str, sample: Tensor, label: str, files: dict[str, str]) -> ForeignGraph:
    """The method's graph, all axes as free as the module's arithmetic is; it agrees with torch on `sample`."""
    call = _Call(module, method).eval()
    try:
        with torch.inference_mode():
            answer, again = call(sample), call(sample)
    except Exception as error:  # whatever the user's code raises
        raise ImportRefused(
            f"{label} fails on {list(sample.shape)}: {type(error).__name__}: {_first_line(error)}"
            f"{_suggest_vectors(call, sample)}"
        ) from error
    if not isinstance(answer, Tensor):
        raise ImportRefused(
            f"{label} returns {type(answer).__name__}; it must return one tensor (of a VAE, the mean): give a function "
            "whose module does so"
        )
    if not is_same(np.asarray(answer), np.asarray(again), PARITY):
        raise ImportRefused(
            f"{label} answers differently each time, as dropout does, and a VAE that draws its latent; it must return "
            "the same for the same sample (of a VAE, the mean)"
        )
    failure: Exception | None = None
    batch_axes = {0: torch.export.Dim.AUTO}
    all_axes = batch_axes | (dict.fromkeys((2, 3), torch.export.Dim.AUTO) if sample.ndim == 4 else {})
    for axes in (all_axes, batch_axes):
        try:
            model = _export_once(call, sample, axes)
        except Exception as error:  # noqa: BLE001  (the exporter has no base class of its own)
            failure = error
            continue
        graph = replace(prepare(model, label, dict(files)), sample_shape=tuple(sample.shape[1:]))
        runner = Runner(graph.original, label)
        if axes is all_axes and not _takes_larger_pictures(runner, sample):
            continue
        if is_same(runner.run({"sample": sample.numpy()}, "answer"), np.asarray(answer), PARITY):
            return graph
    reason = "its graph answers otherwise than torch does" if failure is None else _find_cause(failure)
    raise ImportRefused(
        f"{label} cannot be exported to ONNX: {reason}; export it yourself, and give --denoiser, or --encoder and "
        "--decoder"
    )


def _takes_larger_pictures(runner: Runner, sample: Tensor) -> bool:
    """Whether height and width are as free as the exporter says: a linear layer behind them may hold their product."""
    if sample.ndim != 4:
        return True
    return not isinstance(runner.try_run({"sample": np.tile(sample.numpy(), (1, 1, 2, 2))}, "answer"), str)


def _suggest_vectors(call: nn.Module, sample: Tensor) -> str:
    """A remedy where the module takes vectors, and was given pictures."""
    if sample.ndim != 4:
        return ""
    try:
        with torch.inference_mode():
            call(sample.flatten(1))
    except Exception:  # noqa: BLE001  (whatever the user's code raises)
        return ""
    return f"; it takes vectors: give --input {sample[0].numel()}"


def _export_once(call: nn.Module, sample: Tensor, axes: dict[int, object]) -> onnx.ModelProto:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    silence = io.StringIO()  # a module that cannot be exported is printed, line by line
    with (
        warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence),
    ):  # fmt: skip
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            call, (sample,), dynamo=True, dynamic_shapes=(axes,), input_names=["sample"], output_names=["answer"],
            opset_version=OPSET, verbose=False, artifacts_dir=folder,
        )  # fmt: skip
    if program is None:
        raise ImportRefused("torch's exporter returned nothing")
    return program.model_proto


def _find_cause(error: BaseException) -> str:
    """The first line of the first error of a chain; the later ones are the exporter's, and general."""
    while error.__cause__ is not None:
        error = error.__cause__
    return _first_line(error)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return re.sub(r"\x1b\[[0-9;]*m", "", lines[0])[:200]
