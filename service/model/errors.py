"""Errors of packages: why a package is not read, not written or not served.

PackageError
├── ManifestError       missing, not JSON, an unknown key, a wrong value
├── PathRefused         a graph's file leaves the package, is a link, or is no plain file name
├── GraphMissing        the manifest names a graph that is not there
├── DigestMismatch      the bytes are not those that were written
├── GraphRefused        not an ONNX graph, or it keeps data outside itself
├── OpsetMismatch       another operator set than the manifest says, or one that is not supported
├── PortsMismatch       names, dtypes or ranks of inputs and outputs are not the contract's
├── GoldenMismatch      a graph does not answer as it did when it was exported, or the golden file is none
└── PackageExists       this name and version is already written
"""


class PackageError(Exception):
    """Root of all refusals of a package. The message is one sentence that names the package's file."""


class ManifestError(PackageError):
    pass


class PathRefused(PackageError):
    pass


class GraphMissing(PackageError):
    pass


class DigestMismatch(PackageError):
    pass


class GraphRefused(PackageError):
    pass


class OpsetMismatch(PackageError):
    pass


class PortsMismatch(PackageError):
    pass


class GoldenMismatch(PackageError):
    pass


class PackageExists(PackageError):
    pass
