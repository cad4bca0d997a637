"""Weights of a torch module from safetensors; they are never unpickled.

file -> tensors -> names as the module has them -> load_state_dict -> SHA-256, remarks
"""

import hashlib
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from training.errors import ImportRefused
from training.importing.foreign_graph import read_file


def load_weights(module: nn.Module, path: Path) -> tuple[dict[str, str], list[str]]:
    """Name -> SHA-256 of the file, and what was changed.

    A prefix that all names have and the module has not (`module.` of DataParallel, `_orig_mod.` of torch.compile) is
    left out. Of tensors that the module shares (tied weights) one in the file is enough.

    Raises:
        ImportRefused: it is no safetensors, or does not fit the module.
    """
    data = read_file(path)
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise ImportRefused(
            f"{path.name} is not safetensors ({error}); save the weights with safetensors.torch.save_file"
        ) from error
    tensors, prefix = _strip_prefix(tensors, module)
    remarks = [f"{path.name}: {prefix!r} was left out at the beginning of all names"] if prefix else []
    try:
        missing, unexpected = module.load_state_dict(tensors, strict=False)
    except RuntimeError as error:  # tensors of other shapes
        raise ImportRefused(f"{path.name} does not fit the module: {' '.join(str(error).split())[:300]}") from error
    own = module.state_dict(keep_vars=True)
    filled = {own[name].data_ptr() for name in tensors if name in own}
    missing = [name for name in missing if own[name].data_ptr() not in filled]
    if missing or unexpected:
        parts = [
            f"{what} {', '.join(names[:3])}" for what, names in (("without", missing), ("with", unexpected)) if names
        ]
        raise ImportRefused(
            f"{path.name} does not fit the module: {'; '.join(parts)}; build() must return the same one"
        )
    return {path.name: hashlib.sha256(data).hexdigest()}, remarks


def _strip_prefix(tensors: dict[str, Tensor], module: nn.Module) -> tuple[dict[str, Tensor], str]:
    """The tensors without the prefix that keeps them from fitting the module, and that prefix; else as they are."""
    own, names, prefix = set(module.state_dict()), set(tensors), ""
    while names and not names & own:
        first = {name.partition(".")[0] for name in names}
        if len(first) != 1 or not all("." in name for name in names):
            return tensors, ""
        prefix += f"{first.pop()}."
        names = {name.partition(".")[2] for name in names}
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}, prefix
