"""Kinds of packages: for each, the operations that it offers and the graphs that they need.

Adding a kind: its name in service.model.manifest.Kind, and one entry in KINDS.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from service.model.manifest import Kind, Operation, Role

_Alternatives = tuple[tuple[Role, ...], ...]

_AUTOENCODER: dict[Operation, _Alternatives] = {
    "encode": (("encoder",),),
    "decode": (("decoder",),),
    "reconstruct": (("encoder", "decoder"),),
    "denoise": (("denoiser",),),
    "sample": (("decoder",),),
}


@dataclass(frozen=True)
class KindSpec:
    """One kind.

    `operations`: what an encoder with its decoder offers. `default_operation`: what a package does that is addressed
    without an operation. `graphs`: operation -> alternatives, the preferred first; each is the graphs that it needs.
    """

    operations: tuple[Operation, ...]
    default_operation: Operation
    graphs: Mapping[Operation, _Alternatives]

    def required_graphs(self, operation: Operation, roles: Collection[Role]) -> tuple[Role, ...]:
        """Graphs that `operation` needs in a package of graphs `roles`: the first alternative that is there."""
        alternatives = self.graphs[operation]
        return next((graphs for graphs in alternatives if set(graphs) <= set(roles)), alternatives[-1])


KINDS: dict[Kind, KindSpec] = {
    "undercomplete": KindSpec(("encode", "decode", "reconstruct"), "reconstruct", _AUTOENCODER),
    "overcomplete": KindSpec(("encode", "decode", "reconstruct"), "reconstruct", _AUTOENCODER),
    "sparse": KindSpec(("encode", "decode", "reconstruct"), "reconstruct", _AUTOENCODER),
    "stacked": KindSpec(("encode", "decode", "reconstruct"), "reconstruct", _AUTOENCODER),
    "variational": KindSpec(("encode", "decode", "reconstruct", "sample"), "reconstruct", _AUTOENCODER),
    "denoising": KindSpec(
        ("encode", "decode", "reconstruct", "denoise"),
        "denoise",
        {**_AUTOENCODER, "denoise": (("denoiser",), ("encoder", "decoder"))},
    ),
}
