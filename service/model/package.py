"""Model package: the directory models/<name>/<version>/, how it is written, read and verified.

graphs + manifest -> write (whole or absent) -> directory -> read (verified) -> Package

The format in MUST and MAY is models/README.md. Arithmetic is in the graphs, facts are in the manifest: the
manifest repeats nothing that a graph already says (names, dtypes, shapes).

Errors are PackageErrors; their tree is in service.model.errors.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from service.model.errors import DigestMismatch, GraphMissing, ManifestError, PackageExists, PathRefused
from service.model.files.plain_files import read_regular
from service.model.graph import Port, Ports, verify_graph, verify_ports_agree
from service.model.kinds import KINDS
from service.model.manifest import QUANTILES, Golden, GraphFile, Manifest, Role, ScoreFile
from service.model.measures import scores

MANIFEST = "manifest.json"
STALE_SECONDS = 3600  # a package is written in less than one
_STAGING = ".writing-"
_INNERMOST = re.compile(r"\{[^{}\[\]]*\}|\[[^{}\[\]]*\]")
MAX_GOLDEN = 64 * 2**20  # bytes; a few thousand for models of drawings
MAX_SCORE = 16 * 2**20  # bytes; the shipped ones have up to 500,000
MAX_MANIFEST = 4 * 2**20  # bytes; the shipped ones have up to 6,000

Modality = Literal["image", "vector"]


@dataclass(frozen=True)
class Package:
    """A verified package in memory: `graphs` and `golden` are the very bytes whose digests were checked.

    `score`: by what samples are called unusual; None: by the reconstruction error.
    """

    manifest: Manifest
    graphs: Mapping[Role, bytes]
    ports: Mapping[Role, Ports]
    golden: bytes | None = None
    score: scores.Score | None = None

    @property
    def modality(self) -> Modality:
        return modality(self.ports)

    @property
    def sample(self) -> Port:
        """The port of what the model describes: `image` uint8 [N,H,W,C] or `vector` float32 [N,D]."""
        for role in ("encoder", "denoiser"):
            if role in self.ports:
                return self.ports[role].inputs[0]
        return self.ports["decoder"].outputs[0]

    @property
    def latent(self) -> Port | None:
        """The port `latent` float32 [N,...]; None for a denoiser of one graph."""
        if "encoder" in self.ports:
            return self.ports["encoder"].outputs[0]
        return self.ports["decoder"].inputs[0] if "decoder" in self.ports else None


# --- reading ---------------------------------------------------------------------------------------------


def read(directory: Path) -> Package:
    """Read and verify models/<name>/<version>/; raises PackageError, and has then changed nothing."""
    manifest = read_manifest(directory)
    if (directory.parent.name, directory.name) != (manifest.name, str(manifest.version)):
        raise ManifestError(
            f"{format_key(directory)}/{MANIFEST} is of {manifest.name} version {manifest.version}, "
            f"so its folder must be {manifest.key}"
        )
    graphs: dict[Role, bytes] = {}
    for role, graph in manifest.graphs.items():
        graphs[role] = _read_digested(directory, graph)
    golden = None if manifest.golden is None else _read_digested(directory, manifest.golden, MAX_GOLDEN)
    package = replace(verify(manifest, graphs, label=format_key(directory)), golden=golden)
    if manifest.score is None:
        return package
    return replace(package, score=_read_score(package, manifest.score, directory))


def verify(manifest: Manifest, graphs: Mapping[Role, bytes], label: str) -> Package:
    """Check graphs against the contract: self-contained, the manifest's opset, the roles' ports. Raises PackageError.

    `label`: what errors call the package, "<name>/<version>".
    """
    ports: dict[Role, Ports] = {}
    for role, data in graphs.items():
        ports[role] = verify_graph(role, data, manifest.opset, f"{label}/{manifest.graphs[role].file}")
    verify_ports_agree(ports, label)
    if "denoiser-int8" in ports and "denoiser" not in ports:
        raise GraphMissing(f"{label} has a graph 'denoiser-int8', which stands in for 'denoiser'; that one is missing")
    for operation in manifest.operations:
        for role in KINDS[manifest.kind].required_graphs(operation, graphs):
            if role not in ports:
                raise GraphMissing(
                    f"{label} offers {operation}, which needs a graph {role!r}; it has {_join_roles(ports)}"
                )
    if "sample" in manifest.operations and any(isinstance(axis, str) for axis in _latent_axes(ports)):
        raise ManifestError(f"{label} offers sample, which needs a latent of one shape")
    quantiles = manifest.reconstruction_error_quantiles
    if ("reconstruct" in manifest.operations) != (quantiles is not None):
        raise ManifestError(f"{label}: reconstruction_error_quantiles belong to packages that reconstruct, only")
    if quantiles is not None and (len(quantiles) != QUANTILES or list(quantiles) != sorted(quantiles)):
        raise ManifestError(f"{label}: reconstruction_error_quantiles must be {QUANTILES} rising numbers")
    score = manifest.score
    if score is not None and "reconstruct" not in manifest.operations:
        raise ManifestError(f"{label}: a score belongs to packages that reconstruct, only")
    if score is not None and (len(score.quantiles) != QUANTILES or list(score.quantiles) != sorted(score.quantiles)):
        raise ManifestError(f"{label}: the score's quantiles must be {QUANTILES} rising numbers")
    package = Package(manifest, dict(graphs), ports)
    if manifest.features is not None:
        shape = package.latent.shape if package.latent is not None else ()
        if len(shape) != 2 or not isinstance(shape[1], int) or shape[1] < manifest.features:
            raise ManifestError(f"{label} has {manifest.features} features, which its latent {list(shape)} cannot hold")
    if manifest.columns is not None and package.sample.shape[1:] != (len(manifest.columns),):
        raise ManifestError(
            f"{label} has {len(manifest.columns)} columns, but its samples are {package.sample.name} of shape "
            f"{list(package.sample.shape)}"
        )
    return package


def _read_score(package: Package, entry: ScoreFile, directory: Path) -> scores.Score:
    """The package's score; raises DigestMismatch, ManifestError."""
    data = _read_digested(directory, entry, MAX_SCORE)
    latent_size = 0 if package.latent is None else package.latent.count_numbers()
    try:
        return scores.read(entry, data, package.sample.shape[1:], latent_size)
    except ValueError as error:
        raise ManifestError(f"{format_key(directory)}/{entry.file} is no score of this model: {error}") from error


def _latent_axes(ports: Mapping[Role, Ports]) -> tuple[int | str, ...]:
    return ports["decoder"].inputs[0].shape[1:]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def modality(ports: Mapping[Role, Ports]) -> Modality:
    """Images or vectors, by the names of the graphs' ports."""
    names = {port.name for p in ports.values() for port in (*p.inputs, *p.outputs)}
    return "image" if "image" in names else "vector"


def read_manifest(directory: Path) -> Manifest:
    """The manifest of models/<name>/<version>/; no graph is read. Raises ManifestError, OSError."""
    try:
        return Manifest.model_validate_json(_read_file(directory, MANIFEST, MAX_MANIFEST))
    except GraphMissing as error:
        raise ManifestError(f"{format_key(directory)} has no {MANIFEST}") from error
    except ValidationError as error:
        first_error = error.errors()[0]
        key = ".".join(str(part) for part in first_error["loc"])
        raise ManifestError(f"{format_key(directory)}/{MANIFEST}: {key or 'document'}: {first_error['msg']}") from error


def _read_digested(directory: Path, entry: GraphFile | Golden | ScoreFile, max_bytes: int | None = None) -> bytes:
    """Bytes of a file that the manifest lists, at most `max_bytes`; raises DigestMismatch, ManifestError."""
    data = _read_file(directory, entry.file, max_bytes)
    if (digest := sha256(data)) != entry.sha256:
        raise DigestMismatch(
            f"{format_key(directory)}/{entry.file} has SHA-256 {digest[:12]}..., the manifest says "
            f"{entry.sha256[:12]}...: the file is not the one that was exported"
        )
    return data


def _read_file(directory: Path, name: str, max_bytes: int | None = None) -> bytes:
    """Bytes of a plain file of the package; never follows a link, never leaves the folder."""
    if name != Path(name).name or name in {"", ".", ".."} or "\\" in name or "\0" in name:
        raise PathRefused(f"{format_key(directory)}: {name!r} is not a plain file name inside the package")
    path = directory / name
    if path.is_symlink():
        raise PathRefused(f"{format_key(directory)}/{name} is a link; a package holds its own files")
    if not path.is_file():
        raise GraphMissing(f"{format_key(directory)} has no file {name}")
    if max_bytes is not None and (size := path.stat().st_size) > max_bytes:
        raise ManifestError(f"{format_key(directory)}/{name} has {size} bytes; the limit is {max_bytes}")
    return read_regular(path, max_bytes, follow_links=False)  # whatever has taken its place meanwhile


# --- writing ---------------------------------------------------------------------------------------------


def write(models: Path, manifest: Manifest, graphs: Mapping[Role, bytes], files: Mapping[str, bytes]) -> Path:
    """Write models/<name>/<version>/ atomically: a temporary sibling, synced, verified by `read`, then renamed.

    Args:
        models: the folder that holds all packages.
        manifest: its digests must be those of `graphs`.
        graphs: role -> bytes of a self-contained ONNX graph.
        files: further files by plain name: the card README.md, pictures. No code.
    Returns:
        The directory of the package.
    Raises:
        PackageError: `read` would reject the package, or (PackageExists) the version is there already.
        OSError: of the disk. In every case no part of a package remains.
    """
    destination = models / manifest.name / str(manifest.version)
    if destination.exists():
        raise PackageExists(f"{format_key(destination)} exists already; a version is never overwritten")
    if set(graphs) != set(manifest.graphs):
        raise GraphMissing(
            f"{format_key(destination)}: the manifest names graphs {_join_roles(manifest.graphs)}, "
            f"given are {_join_roles(graphs)}"
        )
    models.mkdir(parents=True, exist_ok=True)
    _remove_stale_staging(models)
    staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=models))
    try:
        directory = staging / manifest.name / str(manifest.version)
        directory.mkdir(parents=True)
        for role, graph in manifest.graphs.items():
            _write_file(directory, graph.file, graphs[role])
        for name, data in files.items():
            _write_file(directory, name, data)
        _write_file(directory, MANIFEST, to_json(manifest))
        read(directory)
        _sync(directory)
        _rename(directory, destination)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return destination


def to_json(manifest: Manifest) -> bytes:
    """The content of manifest.json; lists and objects of plain values are in one line each."""
    text = json.dumps(manifest.model_dump(mode="json", exclude_none=True), indent=2, ensure_ascii=False)
    return (_INNERMOST.sub(_join_lines, text) + "\n").encode()


def _join_lines(lines: re.Match[str]) -> str:
    """Without the line ends; JSON strings have none in them, so their texts stay as they are."""
    return re.sub(r"\n *", " ", re.sub(r"\n *(?=[}\]])|(?<=[{\[])\n *", "", lines[0]))


def _remove_stale_staging(models: Path) -> None:
    """Remove staging folders of writers that were killed: those that are older than STALE_SECONDS."""
    for staging in models.glob(f"{_STAGING}*"):
        with contextlib.suppress(OSError):  # another writer removed it
            if time.time() - staging.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(staging, ignore_errors=True)


def next_version(models: Path, name: str) -> int:
    """The whole number after the highest version of `name` under `models`; 1 for a new name."""
    newest = newest_directory(models / name)
    return 1 if newest is None else int(newest.name) + 1


def newest_directory(model: Path) -> Path | None:
    """The package of the highest version in the folder of a model, models/<name>; None if it has none."""
    versions = [path for path in model.iterdir() if path.name.isdecimal()] if model.is_dir() else []
    return max(versions, key=lambda path: int(path.name), default=None)


def _write_file(directory: Path, name: str, data: bytes) -> None:
    if name != Path(name).name or name in {"", ".", ".."}:
        raise PathRefused(f"{name!r} is not a plain file name inside the package")
    with (directory / name).open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _rename(directory: Path, destination: Path) -> None:
    """Rename atomically: renaming onto a folder that is not empty fails, so of two writers one succeeds."""
    destination.parent.mkdir(exist_ok=True)
    try:
        directory.rename(destination)
    except OSError as error:
        if destination.exists():
            raise PackageExists(f"{format_key(destination)} was written by another process meanwhile") from error
        with contextlib.suppress(OSError):  # the name's folder, if this was to be its first version
            destination.parent.rmdir()
        raise
    _sync(destination.parent)


def _sync(directory: Path) -> None:
    """Write the entries of a directory to the disk; without it, a file may survive a crash and its name not."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def format_key(directory: Path) -> str:
    """models/<name>/<version> -> "<name>/<version>", as messages and listings call a package."""
    return f"{directory.parent.name}/{directory.name}"


def _join_roles(roles: Iterable[Role]) -> str:
    return ", ".join(sorted(roles)) or "none"
