"""Files from the command line: `autoencoder-service denoise scans/ -o clean/ --model pages`, with or without a server.

files, folders, globs, @lists, - -> jobs (source -> destination) -> some at a time -> AsyncClient -> written whole

The client talks to a service in this process, which opens the models itself, or to the one that `--url` names: both
give the same. What is there already and newer than its source is not made again, so a stopped run goes on; a file
that fails is reported, and the others are not stopped by it.
"""

import argparse
import asyncio
import contextlib
import csv
import glob
import io
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx2
import numpy as np

from service.api.v1 import body
from service.app import create_app
from service.client import Array, AsyncClient, ServiceProblem, ServiceUnreachable
from service.codecs import arrays, images
from service.codecs.formats import (
    ALL_IMAGE_NAMES,
    MEDIA_TYPE_OF_SUFFIX,
    NPY,
    PDF,
    PDF_MAGIC,
    PNG,
    READABLE_SUFFIXES,
    detect_image_format,
)
from service.errors import ServiceError
from service.imaging.picture import Picture
from service.model import package
from service.model.manifest import Manifest
from service.repository.registry import directories, pins
from service.settings import Settings

CLEANED = {**MEDIA_TYPE_OF_SUFFIX, ".pdf": PDF}
HEATMAPS = {".png": PNG, ".npy": NPY}
PIPE = "-"
AT_ONCE = 8  # files beside as many as there are workers: they are read and decoded while others run
SAMPLES = 1024  # of an array, in one request
INTERRUPTED = 130
RAY_WANTED = "--engine ray wants an extra: pip install 'autoencoder-service[ray]'"
AN_HOUR = 3600.0  # without a byte: a book takes its time, and the service has deadlines of its own


class FilesError(Exception):
    """What was asked for cannot be begun; the message is one line."""


@dataclass(frozen=True)
class Job:
    """One file, and how it is told of. `source` None: standard input; `destination` None: nothing is written."""

    source: Path | None
    name: str
    destination: Path | None


@dataclass
class Told:
    """What became of the files: progress to a terminal, failures, lines of JSON, and the exit code."""

    verb: str
    total: int
    as_json: bool
    done: int = 0
    there: int = 0
    failed: int = 0
    started: float = field(default_factory=time.monotonic)

    def success(self, job: Job, seconds: float, **facts: object) -> None:
        self.done += 1
        self._line(job, seconds=round(seconds, 3), **facts)

    def failure(self, job: Job, sentence: str) -> None:
        self.failed += 1
        self._clear()
        print(f"{job.name}: {sentence}", file=sys.stderr)
        self._line(job, error=sentence)

    def passed(self, done: int, failed: int) -> None:
        """A chunk of files is through."""
        self.done, self.failed = self.done + done, self.failed + failed
        self._progress("")

    def summary(self) -> int:
        self._clear()
        parts = [f"{self.done} {self.verb}"]
        parts += [f"{self.there} were there already"] if self.there else []
        parts += [f"{self.failed} failed"] if self.failed else []
        if self.total > 1 or self.there or self.failed:
            print(f"{', '.join(parts)}, in {time.monotonic() - self.started:.1f} s", file=sys.stderr)
        return 1 if self.failed else 0

    def _line(self, job: Job, **facts: object) -> None:
        if self.as_json:
            there = {"input": job.name, "output": None if job.destination is None else str(job.destination)}
            print(json.dumps({**there, **facts}), flush=True)
        self._progress(job.name[-40:])

    def _progress(self, name: str) -> None:
        count, passed = self.done + self.failed, time.monotonic() - self.started
        if sys.stderr.isatty() and self.total > 1:
            rest = passed / count * (self.total - count)
            print(f"\r\033[K{count}/{self.total}  {count / passed:.1f}/s  {rest:.0f} s left  {name}",
                  end="", file=sys.stderr, flush=True)  # fmt: skip

    def _clear(self) -> None:
        if sys.stderr.isatty() and self.total > 1:
            print("\r\033[K", end="", file=sys.stderr)


def add_arguments(parser: argparse.ArgumentParser, operation: str) -> None:
    """What `denoise`, `encode`, `decode` and `reconstruct` take."""
    what = {
        "decode": ("latents.npy", "FILE.png, FILE.npy or a FOLDER of images"),
        "encode": (
            "image files, folders, globs, @LIST of files, an .npy, or - for standard input",
            "FILE.npy; its list: FILE.txt",
        ),
        "reconstruct": (
            "image files, folders, globs, @LIST of files, or - for standard input",
            "FILE.csv; - for standard output",
        ),
        "denoise": (
            "image files, PDFs, folders, globs, @LIST of files, or - for standard input",
            "FILE, FOLDER, or - for standard output",
        ),
    }[operation]
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help=what[0])
    parser.add_argument("-o", "--output", required=True, metavar="OUTPUT", help=what[1])
    parser.add_argument("--model", metavar="NAME", help="needed where several models can do it")
    parser.add_argument("--model-version", type=int, metavar="N", help="default: the newest")
    parser.add_argument("--url", help="use the service that runs there, and open no models here")
    parser.add_argument("--key", help="its API key, if it wants one (default: the environment's AUTOENCODER_KEY)")
    if operation == "denoise":
        parser.add_argument(
            "--strength", type=float, default=1, metavar="0..1", help="1 cleans all (default), 0 nothing"
        )
        parser.add_argument("--dpi", type=int, metavar="N", help="dots per inch of a PDF's pages (default 300)")
        parser.add_argument("--again", action="store_true", help="make what is there already once more")
        parser.add_argument("--json", action="store_true", help="a line of JSON for each file on standard output")
    if operation in ("denoise", "encode"):
        parser.add_argument(
            "--engine",
            choices=("here", "ray"),
            default="here",
            help="ray: on all machines of a Ray cluster (extra `ray`), a record of each file below OUTPUT/records",
        )
        parser.add_argument("--chunk", type=int, default=256, metavar="N", help="ray: files of a record (default 256)")
    if operation in ("encode", "reconstruct"):
        parser.add_argument("--fit", choices=("contain", "cover", "stretch"), help="resize to the model's size")
    if operation == "reconstruct":
        parser.add_argument("--images", type=Path, metavar="FOLDER", help="write the reconstructions there too")
        parser.add_argument(
            "--false-alarm-rate",
            type=float,
            metavar="RATE",
            help="add a column `unusual`: of files like those that the model was tested on, that share is; 0.01 to 0.5",
        )
        parser.add_argument(
            "--explain",
            choices=("heatmap",),
            help="instead of errors, where each file has them: -o is FILE.png, FILE.npy or a FOLDER",
        )


def run(operation: str, asked: argparse.Namespace, settings: Settings) -> int:
    """Exit code 0; 1 if a file failed. Raises FilesError before anything is written."""
    work = {"denoise": _denoise, "encode": _encode, "decode": _decode, "reconstruct": _reconstruct}[operation]

    async def all_of_it() -> int:
        async with client_for(operation, asked, settings) as (client, model):
            return await work(client, model, asked, settings.workers + AT_ONCE)

    return ended(lambda: asyncio.run(all_of_it()), asked.output)


def ended(work: Callable[[], int], output: str) -> int:
    """The exit code of `work`, also where it was interrupted; a disk's OSError becomes a FilesError."""
    try:
        return work()
    except BrokenPipeError:  # who read standard output has seen enough
        raise
    except OSError as error:
        raise FilesError(f"{error.filename or output}: {error.strerror or error}") from error
    except KeyboardInterrupt:
        print("stopped; what is written stays, and the same command goes on from there", file=sys.stderr)
        return INTERRUPTED


@asynccontextmanager
async def client_for(
    operation: str, asked: argparse.Namespace, settings: Settings
) -> AsyncIterator[tuple[AsyncClient, str]]:
    """A client, and the model that was asked for or is the only one there is for this; no other is opened here."""
    if asked.url is not None:
        key = asked.key or os.environ.get("AUTOENCODER_KEY")
        async with AsyncClient(asked.url, key=key, timeout=AN_HOUR) as client:
            try:
                listed = await client.models()
            except (ServiceProblem, ServiceUnreachable) as error:
                raise FilesError(str(error)) from error
            able = {model["name"]: model["description"] for model in listed if operation in model["operations"]}
            yield client, _choice(able, operation, asked.model)
        return
    model, directory = package_for(operation, asked, settings)
    a_day = 86_400.0
    alone = {"deadline": a_day, "max_deadline": a_day, "watch": 0, "keys": None, "log_requests": "off"}
    app = create_app(settings.model_copy(update=alone), trusted=True, only=[directory])
    if app.state.registry.refused:
        raise FilesError(app.state.registry.refused[0].reason)
    async with app.behind.router.lifespan_context(app.behind):
        transport = httpx2.ASGITransport(app)
        async with AsyncClient("http://this-process", timeout=a_day, retries=0, transport=transport) as client:
            yield client, model


def package_for(operation: str, asked: argparse.Namespace, settings: Settings) -> tuple[str, Path]:
    """The model that was asked for or is the only one there is for this, and its package's directory."""
    packages = _packages(settings.models, operation)
    model = _choice({name: found[-1][1].description for name, found in packages.items()}, operation, asked.model)
    return model, _version(settings.models, model, packages[model], asked.model_version)


def _packages(models: Path, operation: str) -> dict[str, list[tuple[Path, Manifest]]]:
    """By name, versions rising, what can do it as far as the manifests say; nothing is opened."""
    found: dict[str, list[tuple[Path, Manifest]]] = {}
    for directory in directories(models):
        with contextlib.suppress(package.PackageError, OSError):  # `models verify` says what is wrong with it
            manifest = package.read_manifest(directory)
            if operation in manifest.operations:
                found.setdefault(manifest.name, []).append((directory, manifest))
    return {name: sorted(versions, key=lambda one: one[1].version) for name, versions in found.items()}


def _version(models: Path, name: str, found: list[tuple[Path, Manifest]], asked: int | None) -> Path:
    """The one that is asked for, else the default as service.repository.registry has it."""
    by_version = {manifest.version: directory for directory, manifest in found}
    if asked is not None and asked not in by_version:
        raise FilesError(f"{name} has no version {asked}; it has {', '.join(map(str, by_version))}")
    pin = pins(models).get(name)
    return by_version[asked or (pin if isinstance(pin, int) and pin in by_version else max(by_version))]


def _choice(able: Mapping[str, str], operation: str, name: str | None) -> str:
    """Of models that can do it, with their descriptions, the one named, or the only one."""
    if name is not None:
        if name not in able:
            raise FilesError(f"no model {name} can {operation}; there are: {', '.join(able) or 'none'}")
        return name
    if len(able) == 1:
        return next(iter(able))
    choice = "; ".join(f"{model} ({description.split(':')[0]})" for model, description in able.items())
    raise FilesError(f"say which model with --model; there are: {choice or 'none'}")


# --- the four verbs -------------------------------------------------------------------------------------------


async def _denoise(client: AsyncClient, model: str, asked: argparse.Namespace, at_once: int) -> int:
    jobs = jobs_of(asked.inputs, asked.output, CLEANED, written)
    for job in jobs:
        check_pdf(job, here=asked.url is None)
    if asked.json and asked.output == PIPE:
        raise FilesError("--json and -o - both want standard output")
    waiting = [job for job in jobs if asked.again or not _is_made(job)]
    told = Told("cleaned", len(jobs), asked.json, there=len(jobs) - len(waiting))

    async def one(job: Job) -> None:
        started = time.monotonic()
        await clean(client, model, asked, job)
        told.success(job, time.monotonic() - started, model=model)

    await each(waiting, one, told.failure, at_once)
    return told.summary()


async def _encode(client: AsyncClient, model: str, asked: argparse.Namespace, at_once: int) -> int:
    output = None if asked.output == PIPE else Path(asked.output)
    if output is not None and output.suffix != ".npy":
        raise FilesError(f"latents are written as .npy; {output} is another file")
    if [Path(name).suffix for name in asked.inputs] == [".npy"]:
        samples = _load(Path(asked.inputs[0]))
        made = await _in_parts(samples, partial(client.encode, model, version=asked.model_version, fit=asked.fit))
        _write(output, _npy(made))
        return 0
    jobs = [Job(source, name, None) for source, name in sources_of(asked.inputs)]
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)  # now, and not when all is done and could be lost
    told = Told("encoded", len(jobs), as_json=False)
    latents: dict[str, Array] = {}

    async def one(job: Job) -> None:
        started = time.monotonic()
        latents[job.name] = await latent(client, model, asked, job)
        told.success(job, time.monotonic() - started)

    await each(jobs, one, told.failure, at_once)
    names = [job.name for job in jobs if job.name in latents]
    if names:
        _write(output, _npy(np.concatenate([latents[name] for name in names])))
        if output is not None:
            _write(output.with_suffix(".txt"), "".join(f"{name}\n" for name in names).encode())
    return told.summary()


async def clean(client: AsyncClient, model: str, asked: argparse.Namespace, job: Job) -> None:
    """One picture or PDF, written to where it goes."""
    suffix = job.destination.suffix.lower() if job.destination is not None else ""
    cleaned = await client.denoise(
        model,
        _read(job),
        version=asked.model_version,
        strength=asked.strength,
        dpi=asked.dpi,
        media_type=CLEANED.get(suffix),
    )
    _write(job.destination, cleaned)


async def latent(client: AsyncClient, model: str, asked: argparse.Namespace, job: Job) -> Array:
    """One picture's latents, float32 [N,...]: one, or one for each page."""
    return await client.encode(model, _read(job), version=asked.model_version, fit=asked.fit)


async def _decode(client: AsyncClient, model: str, asked: argparse.Namespace, at_once: int) -> int:
    del at_once
    if len(asked.inputs) > 1:
        raise FilesError("decode takes one file of latents")
    latents = _load(None if asked.inputs[0] == PIPE else Path(asked.inputs[0]))
    output = None if asked.output == PIPE else Path(asked.output)
    samples = await _in_parts(latents, partial(client.decode, model, version=asked.model_version))
    if output is None or output.suffix == ".npy":
        _write(output, _npy(samples))
    elif samples.dtype != np.uint8:
        raise FilesError(f"{model} decodes to vectors, which are no pictures: write them to a .npy")
    elif output.suffix.lower() in MEDIA_TYPE_OF_SUFFIX:
        if len(samples) > 1:
            raise FilesError(f"{len(samples)} latents make {len(samples)} pictures: name a folder")
        _write(output, images.encode(Picture(samples[0]), MEDIA_TYPE_OF_SUFFIX[output.suffix.lower()]))
    else:
        digits = len(str(len(samples) - 1))
        for number, sample in enumerate(samples):
            _write(output / f"{number:0{digits}}.png", images.encode(Picture(sample), PNG))
    return 0


async def _reconstruct(client: AsyncClient, model: str, asked: argparse.Namespace, at_once: int) -> int:
    if asked.explain is not None:
        return await _explain(client, model, asked, at_once)
    if asked.images is None:
        jobs = [Job(source, name, None) for source, name in sources_of(asked.inputs)]
    else:
        jobs = jobs_of(asked.inputs, f"{asked.images}/", MEDIA_TYPE_OF_SUFFIX, written)
    if asked.output != PIPE:
        Path(asked.output).parent.mkdir(parents=True, exist_ok=True)  # as in _encode
    told = Told("reconstructed", len(jobs), as_json=False)
    rate = asked.false_alarm_rate
    found: list[tuple[float, str, list[str]]] = []

    async def one(job: Job) -> None:
        started = time.monotonic()
        made = await client.reconstruct(
            model, _read(job), version=asked.model_version, fit=asked.fit, false_alarm_rate=rate
        )
        if job.destination is not None and isinstance(made.output, bytes):
            _write(job.destination, made.output)
        row = [job.name, f"{made.error[0]:.6g}", f"{made.percentile[0]:.4g}"]
        if made.unusual is not None:
            row.append("true" if made.unusual[0] else "false")
        found.append((-float(made.error[0]), job.name, row))
        told.success(job, time.monotonic() - started)

    await each(jobs, one, told.failure, at_once)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["file", "reconstruction_error", "percentile", *(["unusual"] if rate is not None else [])])
    table.writerows(row for _, _, row in sorted(found))
    _write(None if asked.output == PIPE else Path(asked.output), text.getvalue().encode())
    return told.summary()


async def _explain(client: AsyncClient, model: str, asked: argparse.Namespace, at_once: int) -> int:
    if asked.images is not None:
        raise FilesError("--images and --explain are two commands: heatmaps go to -o")
    jobs = jobs_of(asked.inputs, asked.output, HEATMAPS, lambda name: name if name.endswith(".png") else f"{name}.png")
    told = Told("explained", len(jobs), as_json=False)

    async def one(job: Job) -> None:
        started = time.monotonic()
        suffix = job.destination.suffix.lower() if job.destination is not None else ".png"
        made = await client.heatmap(
            model, _read(job), version=asked.model_version, fit=asked.fit, media_type=HEATMAPS[suffix]
        )
        _write(job.destination, made)
        told.success(job, time.monotonic() - started)

    await each(jobs, one, told.failure, at_once)
    return told.summary()


# --- jobs -----------------------------------------------------------------------------------------------------


async def each(
    jobs: Sequence[Job], work: Callable[[Job], Awaitable[None]], failed: Callable[[Job, str], None], at_once: int
) -> None:
    """`work` on all, `at_once` at a time; what it raises of one file's fault goes to `failed`, and stops no other."""
    waiting = iter(jobs)

    async def worker() -> None:
        for job in waiting:
            try:
                await work(job)
            except (ServiceProblem, ServiceUnreachable) as refused:
                failed(job, refused.detail)
            except OSError as error:
                failed(job, error.strerror or str(error))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(at_once, len(jobs))):
            group.create_task(worker())


async def _in_parts(array: Array, ask: Callable[[Array], Awaitable[Array]]) -> Array:
    """An array [N,...] that is the only input, SAMPLES at once; what goes wrong with it ends the command."""
    try:
        return np.concatenate([await ask(array[i : i + SAMPLES]) for i in range(0, len(array), SAMPLES)])
    except (ServiceProblem, ServiceUnreachable) as refused:
        raise FilesError(refused.detail) from refused


def jobs_of(inputs: Sequence[str], output: str, formats: Mapping[str, str], written: Callable[[str], str]) -> list[Job]:
    """Where each file goes: to a file of one of the `formats`, or `written` (its own name) in a folder.

    Raises FilesError where two would go to one place, or one onto itself.
    """
    sources = list(sources_of(inputs, {*READABLE_SUFFIXES, *formats} - {".npy"}))
    if output == PIPE:
        if len(sources) > 1:
            raise FilesError(f"standard output takes one file, there are {len(sources)}: name a folder with -o")
        return [Job(source, name, None) for source, name in sources]
    target = Path(output)
    named = len(inputs) == 1 and (inputs[0] == PIPE or Path(inputs[0]).is_file())  # a file, not a folder or glob
    one_file = named and not target.is_dir() and not output.endswith("/")
    if one_file:
        if target.suffix.lower() not in formats:
            raise FilesError(f"{target} names no format that can be written; there are: {', '.join(formats)}")
        jobs = [Job(source, name, target) for source, name in sources]
    else:
        jobs = [
            Job(source, name, target / written("stdin.png" if source is None else name)) for source, name in sources
        ]
    taken: dict[Path, Job] = {}
    for job in jobs:
        if job.destination is None:
            raise AssertionError("This is a bug: these jobs all go to files")
        if job.source is not None and job.destination.exists() and job.destination.samefile(job.source):
            raise FilesError(f"{job.name} would be written over itself; choose another -o")
        other = taken.setdefault(job.destination, job)
        if other is not job:
            raise FilesError(f"{other.source} and {job.source} would both be written to {job.destination}")
    return jobs


def sources_of(inputs: Sequence[str], read: Collection[str] = READABLE_SUFFIXES) -> Iterator[tuple[Path | None, str]]:
    """(file, its name below the folder or glob that brought it); FilesError for what is not there.

    `read`: suffixes of what is taken out of a folder.
    """
    for text in inputs:
        path = Path(text)
        if text == PIPE:
            yield None, "standard input"
        elif text.startswith("@"):
            listed = _listed(Path(text[1:]))
            above = Path(os.path.commonpath([p.parent for p in listed]))
            yield from ((p, p.relative_to(above).as_posix()) for p in listed)
        elif path.is_dir():
            found = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix.lower() in read)
            if not found:
                raise FilesError(f"{path} holds no images ({', '.join(read)})")
            yield from ((p, p.relative_to(path).as_posix()) for p in found)
        elif path.exists():
            yield path, path.name
        elif glob.has_magic(text):
            matches = sorted(p for p in map(Path, glob.iglob(text, recursive=True)) if p.is_file())  # noqa: PTH207  (absolute too)
            if not matches:
                raise FilesError(f"nothing matches {text}")
            fixed = Path(*_without_magic(path))
            yield from ((p, p.relative_to(fixed).as_posix()) for p in matches)
        else:
            raise FilesError(f"{text} does not exist")


def _listed(file: Path) -> list[Path]:
    """The paths that a file names, one a line; what is not there is told when it is its turn."""
    try:
        paths = [Path(line).absolute() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise FilesError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise FilesError(f"{file} is no list of files, one a line in UTF-8") from error
    if not paths:
        raise FilesError(f"{file} names no files")
    return paths


def _without_magic(path: Path) -> list[str]:
    """The leading parts of a glob that are plain names."""
    parts: list[str] = []
    for part in path.parts[:-1]:
        if glob.has_magic(part):
            break
        parts.append(part)
    return parts


def written(name: str) -> str:
    """Its name in the folder of answers: its own, or .png where its format is only read."""
    return name if Path(name).suffix.lower() in CLEANED else str(Path(name).with_suffix(".png"))


def check_pdf(job: Job, *, here: bool) -> None:
    """FilesError for a PDF that cannot be read here, or that is to become something else."""
    came, goes = (path is not None and path.suffix.lower() == ".pdf" for path in (job.source, job.destination))
    if came and here and not body.PDF_IS_READ:
        raise FilesError(f"{job.name} wants an extra that is not installed: {body.EXTRA}")
    if job.source is not None and job.destination is not None and came != goes:
        raise FilesError(f"{job.name} cannot become {job.destination}: a PDF becomes a PDF, and pictures pictures")


def _is_made(job: Job) -> bool:
    if job.destination is None or job.source is None or not job.destination.exists():
        return False
    return job.destination.stat().st_mtime >= job.source.stat().st_mtime


# --- reading and writing --------------------------------------------------------------------------------------


def _read(job: Job) -> bytes:
    """A picture's bytes; OSError for what is none, before it is sent anywhere."""
    data = sys.stdin.buffer.read() if job.source is None else job.source.read_bytes()
    if detect_image_format(data) is None and not data.startswith(PDF_MAGIC):
        raise OSError(f"it is no picture that can be read: {ALL_IMAGE_NAMES} are")
    return data


def _load(path: Path | None) -> Array:
    """An array from .npy; FilesError if it is none."""
    try:
        data = sys.stdin.buffer.read() if path is None else path.read_bytes()
        array = arrays.read_npy(data, str(path or "standard input"))
    except OSError as error:
        raise FilesError(f"{path} cannot be read: {error.strerror}") from error
    except ServiceError as broken:
        raise FilesError(broken.detail) from broken
    if array.size == 0 or array.ndim == 0:
        raise FilesError(f"{path or 'standard input'} has shape {list(array.shape)}; at least one sample is needed")
    return array


def _npy(array: Array) -> bytes:
    return arrays.write_npy(np.ascontiguousarray(array))


def _write(path: Path | None, data: bytes) -> None:
    """Whole or not at all, folders made as needed; None: to standard output."""
    if path is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
