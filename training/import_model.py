"""Import of a model that was made elsewhere: in place of training, through the same last steps.

words -> options -> ONNX files | torch module | SAELens | diffusers -> denoiser | autoencoder -> package
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from service.model.manifest import ModelName
from training.errors import ImportRefused
from training.importing import autoencoder, denoiser, diffusers, foreign_graph, options, saelens, torch_module
from training.importing.foreign_graph import ForeignGraph
from training.importing.options import ImportOptions


def main(words: Sequence[str]) -> Path:
    """Import as the words of a command line say; the directory of the new package.

    Raises:
        TrainingError, PackageError: no package is written.
    """
    return run(options.parse(words))


def run(chosen: ImportOptions) -> Path:
    """The directory of the new package, <out>/<version>/; raises as `main`."""
    try:
        TypeAdapter(ModelName).validate_python(chosen.out.name)
    except ValidationError as error:
        raise ImportRefused(
            f"--out {chosen.out}: its last part is the model's name, 2 to 64 of a-z, 0-9 and -, such as models/drunet"
        ) from error
    chosen, graphs = _read(chosen)
    for graph in graphs.values():
        for remark in graph.remarks:
            chosen.report.add(remark)
    if "denoiser" in graphs:
        return denoiser.run(chosen, graphs["denoiser"])
    return autoencoder.run(chosen, graphs.get("encoder"), graphs.get("decoder"))


def _read(chosen: ImportOptions) -> tuple[ImportOptions, dict[str, ForeignGraph]]:
    """The options with what a configuration says, and role -> graph."""
    if chosen.torch is not None and chosen.input_shape is not None:
        return chosen, torch_module.export(chosen.torch, chosen.weights, chosen.input_shape)
    if chosen.saelens is not None:
        return saelens.read(chosen, chosen.saelens)
    if chosen.diffusers is not None:
        return diffusers.read(chosen, chosen.diffusers)
    files = {"denoiser": chosen.denoiser, "encoder": chosen.encoder, "decoder": chosen.decoder}
    return chosen, {role: foreign_graph.read(file) for role, file in files.items() if file is not None}
