"""Nearest samples: the commands `autoencoder-service neighbours IMAGE --in FOLDER` and `index`, which builds one.

inputs, FOLDER | latents.npy | rows.csv | index.npz -> latents (AsyncClient) -> Index.find -> CSV | JSON
inputs, without --in -> POST /v1/models/<name>/neighbours -> CSV | JSON
index: FOLDER | samples.npy | rows.csv -> latents, pictures -> models/<name>/<version>.neighbours.npz
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.cli.errors import FilesError
from service.cli.file_jobs import Job, expand_inputs, write_output
from service.cli.file_options import PIPE, FileOptions
from service.cli.files import exit_code_of, run_concurrently
from service.cli.local_client import client_for
from service.cli.tables import ROWS, find_schema, is_table, read_batches
from service.client import AsyncClient, ServiceProblem, ServiceUnreachable
from service.codecs import arrays
from service.codecs.table_formats import tables
from service.errors import ServiceError
from service.model.errors import PackageError
from service.model.files.image_samples import make_image, read_pictures
from service.model.files.plain_files import to_printable, write_whole
from service.model.measures.neighbours import INDEX_FILE, MAX_ROWS, MAX_SIDE, Index, pack_names, read_index, write_index
from service.settings import Settings

CONCURRENCY = 8


@dataclass(frozen=True)
class Samples:
    """What was encoded: `latents` float32 [N,D], `names` [N], `pictures` uint8 [N,h,w,c] for an index, or None."""

    latents: NDArray[np.float32]
    names: list[str]
    pictures: NDArray[np.uint8] | None = None


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    """The arguments of `neighbours` or `index`."""
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="image files, folders, globs, @LIST of files, an .npy, .csv or .parquet",
    )
    parser.add_argument("--model", metavar="NAME", help="required if several models can encode")
    parser.add_argument("--model-version", type=int, metavar="N", help="default: the newest")
    parser.add_argument("--fit", choices=("contain", "cover", "stretch"), help="resize to the model's size")
    parser.add_argument("--url", help="use the service that runs there, and open no models here")
    parser.add_argument("--key", help="its API key, if it requires one (default: the environment's AUTOENCODER_KEY)")
    if command == "neighbours":
        parser.add_argument(
            "--in", dest="pool", metavar="FOLDER|FILE",
            help="where to look: images, an .npy of latents (names in a .txt beside it) or of pictures, an index "
            "(.npz) or a table; default: the index of the package",
        )  # fmt: skip
        parser.add_argument("--count", type=int, default=8, metavar="N", help="neighbours of each input (default 8)")
        parser.add_argument(
            "-o", "--output", default=PIPE, metavar="OUTPUT", help="FILE.csv, FILE.json; default: CSV here"
        )
        parser.add_argument("--json", action="store_true", help="JSON on standard output")
    else:
        parser.add_argument("--no-pictures", action="store_true", help="names alone, no small pictures")
        parser.add_argument(
            "-o",
            "--output",
            metavar="FILE.npz",
            help=f"default: models/NAME/VERSION.{INDEX_FILE}, where the service looks",
        )


def run_neighbours(options: argparse.Namespace, settings: Settings) -> int:
    """Exit code 0; 1 if a file failed. Raises FilesError."""
    if options.count < 1:
        raise FilesError(f"--count is {options.count}; at least one neighbour is looked for")
    suffix = Path(options.output).suffix.lower()
    if options.output != PIPE and suffix not in (".csv", ".json"):
        raise FilesError(f"neighbours are written as .csv or .json; {options.output} is another file")
    as_json = options.json or suffix == ".json"

    async def find() -> int:
        async with client_for(_file_options(options), settings) as (client, model):
            failures: list[str] = []
            if options.pool is None:
                names, found = await _ask(client, model, options, failures)
            else:
                samples = await _encode(client, model, options, options.inputs, failures)
                names = samples.names
                pool = await _read_pool(client, model, options, failures)
                if pool.latents.shape[1:] != samples.latents.shape[1:]:
                    raise FilesError(
                        f"{options.pool} has latents of {pool.latents.shape[1]} numbers, those of {model} have "
                        f"{samples.latents.shape[1]}"
                    )
                rows, distances = await asyncio.to_thread(pool.find, samples.latents, options.count)
                found = [
                    [
                        {"row": int(row), "name": pool.name(int(row)), "distance": float(distance)}
                        for row, distance in zip(rows[place], distances[place], strict=True)
                    ]
                    for place in range(len(rows))
                ]
        _write(options.output, names, found, as_json=as_json)
        return 1 if failures else 0

    return exit_code_of(lambda: asyncio.run(find()), options.output)


def run_index(options: argparse.Namespace, settings: Settings) -> int:
    """Build an index; exit code 0, 1 if a file failed. Raises FilesError."""
    if options.url is not None and options.output is None:
        raise FilesError("with --url the index is not beside the package: name a file with -o")

    async def build() -> int:
        async with client_for(_file_options(options), settings) as (client, model):
            failures: list[str] = []
            samples = await _encode(
                client, model, options, options.inputs, failures, with_pictures=not options.no_pictures
            )
            facts = await client.model(model, version=options.model_version)
        if len(samples.latents) > MAX_ROWS:
            raise FilesError(f"{len(samples.latents)} samples; an index has at most {MAX_ROWS}")
        path = (
            Path(options.output)
            if options.output is not None
            else settings.models / model / f"{facts['version']}.{INDEX_FILE}"
        )
        data = write_index(Index(samples.latents.astype(np.float16), pack_names(samples.names), samples.pictures))
        write_whole(path, data)
        print(f"{path}: {len(samples.latents)} samples, {len(data) / 1e6:.2f} MB", file=sys.stderr)
        return 1 if failures else 0

    return exit_code_of(lambda: asyncio.run(build()), str(options.output or settings.models))


def _file_options(options: argparse.Namespace) -> FileOptions:
    return FileOptions(
        operation="encode", inputs=tuple(options.inputs), output=PIPE, model=options.model,
        model_version=options.model_version, url=options.url, key=options.key, fit=options.fit,
    )  # fmt: skip


async def _encode(
    client: AsyncClient,
    model: str,
    options: argparse.Namespace,
    inputs: list[str],
    failures: list[str],
    *,
    with_pictures: bool = False,
) -> Samples:
    """The latents of all inputs; a file that fails is reported and left out. Raises FilesError if none is left."""
    version = options.model_version
    try:
        if len(inputs) == 1 and is_table(inputs[0]):
            facts = await client.model(model, version=version)
            batches = list(read_batches(Path(inputs[0]), find_schema(facts, _file_options(options))))
            parts = [await client.encode(model, batch.numbers, version=version) for batch in batches]
            cells = [batch.carried_cells(row) for batch in batches for row in range(len(batch.numbers))]
            names = [" ".join([str(number), *row]) for number, row in enumerate(cells, 1)]
            return Samples(_to_rows(np.concatenate(parts), model), names)
        if len(inputs) == 1 and Path(inputs[0]).suffix == ".npy":
            array = _load_npy(Path(inputs[0]))
            if array.ndim == 0 or not array.size:
                raise FilesError(f"{inputs[0]} has shape {list(array.shape)}; at least one sample is needed")
            parts = [
                await client.encode(model, array[start : start + ROWS], version=version, fit=options.fit)
                for start in range(0, len(array), ROWS)
            ]
            is_picture = with_pictures and array.dtype == np.uint8 and array.ndim in (3, 4)
            pictures = np.stack([_to_thumbnail(image) for image in array]) if is_picture else None
            return Samples(_to_rows(np.concatenate(parts), model), list(map(str, range(len(array)))), pictures)
    except (ServiceProblem, ServiceUnreachable, ServiceError) as error:
        raise FilesError(error.detail) from error
    jobs = [Job(source, to_printable(name), None) for source, name in expand_inputs(inputs)]
    latents: dict[int, NDArray[np.float32]] = {}
    thumbnails: dict[int, NDArray[np.uint8]] = {}

    async def process(job: Job) -> None:
        data = sys.stdin.buffer.read() if job.source is None else job.source.read_bytes()
        latents[id(job)] = await client.encode(model, data, version=version, fit=options.fit)
        if with_pictures:
            thumbnails[id(job)] = await asyncio.to_thread(_read_thumbnail, data, job.name)

    await run_concurrently(jobs, process, _reporter(failures), CONCURRENCY)
    encoded = [job for job in jobs if id(job) in latents]
    if not encoded:
        raise FilesError("none of the files could be encoded")
    names = [job.name for job in encoded for _ in latents[id(job)]]
    rows = _to_rows(np.concatenate([latents[id(job)] for job in encoded]), model)
    return Samples(rows, names, _join_thumbnails([thumbnails[id(job)] for job in encoded]) if with_pictures else None)


def _to_rows(latents: NDArray[np.float32], model: str) -> NDArray[np.float32]:
    if latents.ndim != 2:
        raise FilesError(
            f"the latents of {model} have the shape {list(latents.shape)}; neighbours are of latents [N,D]"
        )
    return latents


async def _read_pool(client: AsyncClient, model: str, options: argparse.Namespace, failures: list[str]) -> Index:
    """The latents to look among: those of an .npy or a table of latents, or of the pictures in a folder."""
    path = Path(options.pool)
    try:
        if path.suffix == ".npy" and not _holds_pictures(path):
            return await asyncio.to_thread(_load_latents, path)
        if path.suffix == ".npz":
            facts = await client.model(model, version=options.model_version)
            size = facts["ports"]["latent"]["shape"][-1]
            return await asyncio.to_thread(lambda: read_index(_read_bytes(path), size, str(path)))
        if is_table(path):
            facts = await client.model(model, version=options.model_version)
            return await asyncio.to_thread(_load_table, path, model, facts["ports"]["latent"]["shape"][-1])
    except ServiceError as error:
        raise FilesError(error.detail) from error
    except PackageError as error:
        raise FilesError(str(error)) from error
    samples = await _encode(client, model, options, [options.pool], failures)
    return Index(samples.latents, pack_names(samples.names))


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise FilesError(f"{path}: {error.strerror}") from error


def _load_npy(path: Path) -> NDArray[Any]:
    """Raises FilesError, ServiceError."""
    return arrays.read_npy(_read_bytes(path), str(path))


def _holds_pictures(path: Path) -> bool:
    """Whether an .npy holds samples to encode, pictures uint8 [N,H,W] or [N,H,W,C], and no latents."""
    array = _load_npy(path)
    return array.dtype == np.uint8 and array.ndim in (3, 4)


def _load_latents(path: Path) -> Index:
    """Latents [N,D] and, from the list beside them, the names of their files."""
    latents = _load_npy(path)
    if latents.ndim != 2 or not latents.size or latents.dtype.kind != "f":
        raise FilesError(
            f"{path} holds neither latents, floats [N,D], nor pictures, uint8 [N,H,W]: it is {latents.dtype} "
            f"{list(latents.shape)}"
        )
    is_finite = np.isfinite(latents).all(axis=1)
    if not is_finite.all():
        raise FilesError(f"{path}: row {int(np.argmin(is_finite))} holds NaN or infinity")
    listing = path.with_suffix(".txt")  # as `encode` writes it
    names = listing.read_text().splitlines() if listing.is_file() else []
    return Index(latents, tuple(names) if len(names) == len(latents) else ())


def _load_table(path: Path, model: str, size: int) -> Index:
    """Latents in CSV or Parquet, called by the columns that are carried along, or by their row."""
    batches = list(read_batches(path, tables.TableSchema(model, size, tables.latent_names(size))))
    names = [" ".join(batch.carried_cells(row)) for batch in batches for row in range(len(batch.numbers))]
    numbers = np.concatenate([batch.numbers for batch in batches])
    return Index(numbers, pack_names([name or str(row) for row, name in enumerate(names)]))


async def _ask(
    client: AsyncClient, model: str, options: argparse.Namespace, failures: list[str]
) -> tuple[list[str], list[list[dict[str, Any]]]]:
    """The names of the samples, and the neighbours of each in the package's index."""
    count, version, fit = options.count, options.model_version, options.fit
    try:
        if len(options.inputs) == 1 and (is_table(options.inputs[0]) or Path(options.inputs[0]).suffix == ".npy"):
            path = Path(options.inputs[0])
            if is_table(path):
                facts = await client.model(model, version=version)
                batches = [batch.numbers for batch in read_batches(path, find_schema(facts, _file_options(options)))]
            else:
                array = _load_npy(path)
                batches = [array[start : start + ROWS] for start in range(0, max(1, len(array)), ROWS)]
            found = [n for batch in batches for n in await client.neighbours(model, batch, count, version=version)]
            return list(map(str, range(1, len(found) + 1))), found
    except (ServiceProblem, ServiceUnreachable, ServiceError) as error:
        raise FilesError(error.detail) from error
    jobs = [Job(source, to_printable(name), None) for source, name in expand_inputs(options.inputs)]
    answers: dict[int, list[dict[str, Any]]] = {}

    async def process(job: Job) -> None:
        data = sys.stdin.buffer.read() if job.source is None else job.source.read_bytes()
        (answers[id(job)],) = await client.neighbours(model, data, count, version=version, fit=fit)

    await run_concurrently(jobs, process, _reporter(failures), CONCURRENCY)
    if not answers:
        raise FilesError("no neighbours of any file were found")
    done = [job for job in jobs if id(job) in answers]
    return [job.name for job in done], [answers[id(job)] for job in done]


def _reporter(failures: list[str]) -> Callable[[Job, str], None]:
    def report(job: Job, reason: str) -> None:
        failures.append(job.name)
        print(f"{job.name}: {to_printable(reason)}", file=sys.stderr)

    return report


def _write(output: str, names: list[str], found: list[list[dict[str, Any]]], *, as_json: bool) -> None:
    path = None if output == PIPE else Path(output)
    if as_json:
        document = [
            {"file": name, "neighbours": [{key: n[key] for key in ("row", "name", "distance")} for n in neighbours]}
            for name, neighbours in zip(names, found, strict=True)
        ]
        write_output(path, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())
        return
    rows = [
        (name, str(rank), str(neighbour["row"]), neighbour["name"], f"{neighbour['distance']:.6g}")
        for name, neighbours in zip(names, found, strict=True)
        for rank, neighbour in enumerate(neighbours, 1)
    ]
    header = ["file", "rank", "row", "neighbour", "distance"]
    columns = [[row[place] for row in rows] for place in range(len(header))]
    write_output(path, tables.write_csv(header, [], columns))


def _read_thumbnail(data: bytes, label: str) -> NDArray[np.uint8]:
    picture = read_pictures(data, label)[0]
    return _to_thumbnail(make_image(picture, 1 if picture.pixels.shape[2] < 3 else 3))


def _to_thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[H,W], [H,W,1] or [H,W,3] -> at most MAX_SIDE pixels a side, [h,w,1] or [h,w,3]."""
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    pixels = pixels[:, :, :1] if pixels.shape[2] < 3 else pixels[:, :, :3]
    if max(pixels.shape[:2]) <= MAX_SIDE:
        return pixels
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    image.thumbnail((MAX_SIDE, MAX_SIDE))
    small = np.asarray(image, np.uint8)
    return small[:, :, None] if small.ndim == 2 else small


def _join_thumbnails(thumbnails: list[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """[N,h,w,c] of the largest sides, each picture in the middle of black; of all colours if one has any."""
    height, width, channels = (max(picture.shape[axis] for picture in thumbnails) for axis in range(3))
    joined = np.zeros((len(thumbnails), height, width, channels), np.uint8)
    for place, picture in zip(joined, thumbnails, strict=True):
        top, left = (height - picture.shape[0]) // 2, (width - picture.shape[1]) // 2
        place[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return joined
