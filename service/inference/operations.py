"""The table of operations: what each takes and returns, how it is described, and the function that runs it.

OPERATIONS[operation] -> inference, routes and OpenAPI of /v1, tensors of /v2
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from service.model.graph import Port
from service.model.manifest import Operation
from service.model.runtime import Array, Model, Reconstruction

PortRole = Literal["sample", "latent"]  # `sample`: the model's image or vector


@dataclass(frozen=True)
class Output:
    """One output: shaped as a port of the model, or (`port` None) float64 [N]; `name` "" is the port's own."""

    name: str
    port: PortRole | None


@dataclass(frozen=True)
class OperationSpec:
    """What an operation is.

    Args:
        function: (model, batch [N,...]) -> the first output, or all of a reconstruction; raises ModelFailed.
        input: port that takes the batch.
        outputs: in order; the first is as `function` returns it.
        summary, example_model: for the documentation.
        is_drawn: the latents are drawn from their prior, for which a request has parameters, and no body.
        keeps_size: models of images of any size take whole pages, and PDFs, and return them as they came.
    """

    function: Callable[[Model, Array], Array | Reconstruction]
    input: PortRole
    outputs: tuple[Output, ...]
    summary: str
    example_model: str
    keeps_size: bool = False
    is_drawn: bool = False

    @property
    def takes_latents(self) -> bool:
        return self.input == "latent"

    @property
    def returns_latents(self) -> bool:
        return self.outputs[0].port == "latent"

    @property
    def returns_errors(self) -> bool:
        """Whether each sample's reconstruction error and its percentile are returned beside it."""
        return len(self.outputs) > 1

    def takes_pages(self, model: Model) -> bool:
        """Whether pictures keep their size, depth and colour with that model."""
        return self.keeps_size and model.any_size


OPERATIONS: dict[Operation, OperationSpec] = {
    "encode": OperationSpec(
        function=Model.encode,
        input="sample",
        outputs=(Output("", "latent"),),
        summary="Samples to latents",
        example_model="cats-stacked",
    ),
    "decode": OperationSpec(
        function=Model.decode,
        input="latent",
        outputs=(Output("", "sample"),),
        summary="Latents to samples",
        example_model="cats-stacked",
    ),
    "reconstruct": OperationSpec(
        function=Model.reconstruct,
        input="sample",
        outputs=(Output("", "sample"), Output("reconstruction_error", None), Output("percentile", None)),
        summary="Samples to latents and back, with the reconstruction error and its percentile",
        example_model="cats-convolutional",
    ),
    "denoise": OperationSpec(
        function=Model.denoise,
        input="sample",
        outputs=(Output("denoised", "sample"),),
        summary="Corrupted samples to clean ones",
        example_model="cats-denoising",
        keeps_size=True,
    ),
    "sample": OperationSpec(
        function=Model.generate,
        input="latent",
        outputs=(Output("", "sample"),),
        summary="New samples, decoded from draws from the latent's prior",
        example_model="cats-variational",
        is_drawn=True,
    ),
}


def port_of(model: Model, role: PortRole) -> Port:
    """The model's port in that role."""
    port = model.latent if role == "latent" else model.sample
    if port is None:
        raise AssertionError("This is a bug: verified packages that encode or decode have a latent port")
    return port
