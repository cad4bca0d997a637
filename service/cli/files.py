"""The commands on files: `autoencoder-service denoise scans/ -o clean/ --model pages`, with or without a server.

inputs -> plan_jobs -> run_concurrently(AsyncClient) -> results, each written whole or not at all -> exit code

The client talks to a service in this process, which opens the model itself, or to the one that `--url` names; the
results are the same. A result that exists and is newer than its source is not computed again, so an interrupted
command can be continued. A file that fails is reported, and the others go on.
"""

import asyncio
import csv
import io
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from service.cli.errors import FilesError
from service.cli.file_jobs import (
    DENOISED_TYPES,
    HEATMAP_TYPES,
    Job,
    check_pdf,
    expand_inputs,
    output_name,
    plan_jobs,
    write_output,
)
from service.cli.file_options import PIPE, FileOptions
from service.cli.local_client import client_for
from service.cli.progress import Progress
from service.cli.tables import convert_table, is_table, write_table
from service.client import Array, AsyncClient, ServiceProblem, ServiceUnreachable
from service.codecs import arrays, images, unread_formats
from service.codecs.formats import MEDIA_TYPE_OF_SUFFIX, PDF_MAGIC, PNG, detect_image_format
from service.codecs.table_formats import tables
from service.errors import ServiceError
from service.imaging.contact_sheet import make_contact_sheet
from service.imaging.picture import Picture
from service.model.files.plain_files import to_printable
from service.settings import Settings

READ_AHEAD = 8  # files in flight beyond the number of workers: they are read and decoded while others run
SAMPLES_PER_REQUEST = 1024  # of an array
INTERRUPTED = 130


def run(options: FileOptions, settings: Settings) -> int:
    """Exit code 0; 1 if a file failed; 130 after Ctrl-C. Raises FilesError before anything is written."""
    command = {
        "denoise": _denoise, "encode": _encode, "decode": _decode, "reconstruct": _reconstruct, "sample": _sample,
    }[options.operation]  # fmt: skip

    async def run_command() -> int:
        async with client_for(options, settings) as (client, model):
            return await command(client, model, options, settings.workers + READ_AHEAD)

    return exit_code_of(lambda: asyncio.run(run_command()), options.output)


def exit_code_of(command: Callable[[], int], output: str) -> int:
    """The exit code of the command, 130 if it is interrupted; an OSError of the disk becomes a FilesError."""
    try:
        return command()
    except BrokenPipeError:  # the reader of standard output has closed it
        raise
    except OSError as error:
        raise FilesError(f"{error.filename or output}: {error.strerror or error}") from error
    except KeyboardInterrupt:
        print("stopped; results already written stay, and the same command continues from there", file=sys.stderr)
        return INTERRUPTED


# --- the five commands ----------------------------------------------------------------------------------------


async def _denoise(client: AsyncClient, model: str, options: FileOptions, concurrency: int) -> int:
    jobs = plan_jobs(options.inputs, options.output, DENOISED_TYPES, output_name)
    for job in jobs:
        check_pdf(job, is_local=options.url is None)
    if options.json and options.output == PIPE:
        raise FilesError("--json and -o - both want standard output")
    pending = [job for job in jobs if options.again or not job.is_up_to_date()]
    progress = Progress("cleaned", len(jobs), options.json, skip_count=len(jobs) - len(pending))

    async def process(job: Job) -> None:
        start = time.monotonic()
        dropped = await denoise_file(client, model, options, job)
        progress.record_success(job, time.monotonic() - start, dropped, model=model)

    await run_concurrently(pending, process, progress.record_failure, concurrency)
    return progress.print_summary()


async def denoise_file(client: AsyncClient, model: str, options: FileOptions, job: Job) -> str:
    """Denoise one image or PDF and write it to its destination; names of what it held and the result does not."""
    dropped: list[str] = []
    suffix = job.destination.suffix.lower() if job.destination is not None else ""
    result = await client.denoise(
        model,
        _read_image(job),
        version=options.model_version,
        strength=options.strength,
        dpi=options.dpi,
        bits=options.bits,
        white=options.white,
        figures=options.figures,
        media_type=DENOISED_TYPES.get(suffix),
        on_dropped=dropped.append,
    )
    write_output(job.destination, result)
    return ", ".join(dropped)


async def _encode(client: AsyncClient, model: str, options: FileOptions, concurrency: int) -> int:
    output = _output_path(options)
    if len(options.inputs) == 1 and is_table(options.inputs[0]):
        await convert_table(client, model, options, output)
        return 0
    if output is not None and output.suffix != ".npy" and not is_table(output):
        raise FilesError(f"latents are written as .npy, .csv or .parquet; {output} is another file")
    if [Path(name).suffix for name in options.inputs] == [".npy"]:
        encode = partial(client.encode, model, version=options.model_version, fit=options.fit)
        _write_latents(output, await _map_batches(_load_array(Path(options.inputs[0])), encode))
        return 0
    jobs = _plan_without_files(options)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)  # fails now, not after all results were computed
    progress = Progress("encoded", len(jobs), as_json=False)
    latents: dict[int, Array] = {}  # by the job's identity: two files may have one name

    async def process(job: Job) -> None:
        start = time.monotonic()
        latents[id(job)] = await encode_file(client, model, options, job)
        progress.record_success(job, time.monotonic() - start)

    await run_concurrently(jobs, process, progress.record_failure, concurrency)
    encoded = [job for job in jobs if id(job) in latents]
    if encoded:
        if output is not None and is_table(output):
            files = [tables.join_cells([job.name]) for job in encoded for _ in latents[id(job)]]
            _write_latents(output, np.concatenate([latents[id(job)] for job in encoded]), files)
            return progress.print_summary()
        _write_latents(output, np.concatenate([latents[id(job)] for job in encoded]))
        if output is not None:
            write_output(output.with_suffix(".txt"), "".join(f"{job.name}\n" for job in encoded).encode())
    return progress.print_summary()


def _write_latents(output: Path | None, latents: Array, files: Sequence[bytes] = ()) -> None:
    """As .npy, or [N,D] as a table, with the name of each row's file if there are files."""
    if output is None or not is_table(output):
        write_output(output, _npy_bytes(latents))
    elif latents.ndim != 2:
        raise FilesError(f"these latents have the shape {list(latents.shape)}, which is no table: write them to a .npy")
    else:
        names = [*(["file"] if files else []), *tables.latent_names(latents.shape[1])]
        write_table(output, names, files, [latents])


async def encode_file(client: AsyncClient, model: str, options: FileOptions, job: Job) -> Array:
    """The latents of one file, float32 [N,...]; N is 1, or the number of its pages."""
    return await client.encode(model, _read_image(job), version=options.model_version, fit=options.fit)


async def _decode(client: AsyncClient, model: str, options: FileOptions, concurrency: int) -> int:
    del concurrency  # one file
    if len(options.inputs) > 1:
        raise FilesError("decode takes one file of latents")
    if is_table(options.inputs[0]):
        samples = await convert_table(client, model, options, _output_path(options))
        return 0 if samples.ndim == 2 else _write_samples(samples, _output_path(options), model)
    latents = _load_array(None if options.inputs[0] == PIPE else Path(options.inputs[0]))
    output = _output_path(options)
    samples = await _map_batches(latents, partial(client.decode, model, version=options.model_version))
    if len(samples) > 1 and output is not None and output.suffix.lower() in MEDIA_TYPE_OF_SUFFIX:
        raise FilesError(f"{len(samples)} latents make {len(samples)} pictures: name a folder")
    return _write_samples(samples, output, model)


async def _sample(client: AsyncClient, model: str, options: FileOptions, concurrency: int) -> int:
    del concurrency  # one request
    if options.count < 1:
        raise FilesError(f"--count is {options.count}; at least one sample is drawn")
    output = _output_path(options)
    try:
        samples = await client.sample(model, options.count, seed=options.seed, version=options.model_version)
    except (ServiceProblem, ServiceUnreachable) as error:
        raise FilesError(error.detail) from error
    return _write_samples(samples, output, model)


def _write_samples(samples: Array, output: Path | None, model: str) -> int:
    """As .npy, as a picture (of several: side by side), or as pictures in a folder; exit code 0."""
    if output is None or output.suffix == ".npy":
        write_output(output, _npy_bytes(samples))
    elif samples.dtype != np.uint8 and is_table(output):
        write_table(output, tables.column_names(samples.shape[1]), [], [samples])
    elif samples.dtype != np.uint8:
        raise FilesError(f"{model} decodes to vectors, which are no images: write them to a .npy, .csv or .parquet")
    elif output.suffix.lower() in MEDIA_TYPE_OF_SUFFIX:
        sheet = Picture(make_contact_sheet(samples))
        write_output(output, images.encode(sheet, MEDIA_TYPE_OF_SUFFIX[output.suffix.lower()]))
    else:
        digits = len(str(len(samples) - 1))
        for number, sample in enumerate(samples):
            write_output(output / f"{number:0{digits}}.png", images.encode(Picture(sample), PNG))
    return 0


async def _reconstruct(client: AsyncClient, model: str, options: FileOptions, concurrency: int) -> int:
    if options.explain is not None:
        return await _explain(client, model, options, concurrency)
    if len(options.inputs) == 1 and is_table(options.inputs[0]):
        await convert_table(client, model, options, _output_path(options))
        return 0
    if options.images is None:
        jobs = _plan_without_files(options)
    else:
        jobs = plan_jobs(options.inputs, f"{options.images}/", MEDIA_TYPE_OF_SUFFIX, output_name)
    output = _output_path(options)
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)  # as in _encode
    progress = Progress("reconstructed", len(jobs), as_json=False)
    rate = options.false_alarm_rate
    rows: list[tuple[float, str, list[str]]] = []  # (-error, name, cells)

    async def process(job: Job) -> None:
        start = time.monotonic()
        result = await client.reconstruct(
            model, _read_image(job), version=options.model_version, fit=options.fit, false_alarm_rate=rate
        )
        if job.destination is not None and isinstance(result.output, bytes):
            write_output(job.destination, result.output)
        cells = [job.name, f"{result.error[0]:.6g}", f"{result.percentile[0]:.4g}"]
        if result.unusual is not None:
            cells += ["true" if result.unusual[0] else "false", result.score or "error"]
        rows.append((-float(result.error[0]), job.name, cells))
        progress.record_success(job, time.monotonic() - start)

    await run_concurrently(jobs, process, progress.record_failure, concurrency)
    columns = ["file", "reconstruction_error", "percentile", *(["unusual", "score"] if rate is not None else [])]
    write_output(output, _csv_bytes([columns, *(cells for _, _, cells in sorted(rows))]))
    return progress.print_summary()


async def _explain(client: AsyncClient, model: str, options: FileOptions, concurrency: int) -> int:
    if options.images is not None:
        raise FilesError("--images and --explain are two commands: heatmaps go to -o")
    jobs = plan_jobs(
        options.inputs, options.output, HEATMAP_TYPES, lambda name: name if name.endswith(".png") else f"{name}.png"
    )
    progress = Progress("explained", len(jobs), as_json=False)

    async def process(job: Job) -> None:
        start = time.monotonic()
        suffix = job.destination.suffix.lower() if job.destination is not None else ".png"
        heatmap = await client.heatmap(
            model, _read_image(job), version=options.model_version, fit=options.fit, media_type=HEATMAP_TYPES[suffix]
        )
        write_output(job.destination, heatmap)
        progress.record_success(job, time.monotonic() - start)

    await run_concurrently(jobs, process, progress.record_failure, concurrency)
    return progress.print_summary()


# --- many files -----------------------------------------------------------------------------------------------


async def run_concurrently(
    jobs: Sequence[Job],
    process: Callable[[Job], Awaitable[None]],
    report_failure: Callable[[Job, str], None],
    concurrency: int,
) -> None:
    """Await `process` for every job, `concurrency` at a time.

    A refusal by the service or an OSError concerns one file: it goes to `report_failure`, and the others go on.
    """
    remaining = iter(jobs)

    async def worker() -> None:
        for job in remaining:
            try:
                await process(job)
            except (ServiceProblem, ServiceUnreachable) as error:
                report_failure(job, error.detail)
            except OSError as error:
                report_failure(job, error.strerror or str(error))

    async with asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, len(jobs))):
            group.create_task(worker())


async def _map_batches(array: Array, request: Callable[[Array], Awaitable[Array]]) -> Array:
    """The results of `request` for an array [N,...], SAMPLES_PER_REQUEST at a time. An error ends the command."""
    batches = [array[i : i + SAMPLES_PER_REQUEST] for i in range(0, len(array), SAMPLES_PER_REQUEST)]
    try:
        return np.concatenate([await request(batch) for batch in batches])
    except (ServiceProblem, ServiceUnreachable) as error:
        raise FilesError(error.detail) from error


def _plan_without_files(options: FileOptions) -> list[Job]:
    """A job for each input; the results go to one file together."""
    return [Job(source, to_printable(name), None) for source, name in expand_inputs(options.inputs)]


# --- reading and writing --------------------------------------------------------------------------------------


def _output_path(options: FileOptions) -> Path | None:
    return None if options.output == PIPE else Path(options.output)


def _read_image(job: Job) -> bytes:
    """The bytes of an image or PDF; OSError for any other file, before it is sent anywhere."""
    data = sys.stdin.buffer.read() if job.source is None else job.source.read_bytes()
    if detect_image_format(data) is None and not data.startswith(PDF_MAGIC):
        raise OSError(unread_formats.describe(data, "the file"))
    return data


def _load_array(path: Path | None) -> Array:
    """An array [N,...] from an .npy file (None: standard input). Raises FilesError."""
    try:
        data = sys.stdin.buffer.read() if path is None else path.read_bytes()
        array = arrays.read_npy(data, str(path or "standard input"))
    except OSError as error:
        raise FilesError(f"{path} cannot be read: {error.strerror}") from error
    except ServiceError as error:
        raise FilesError(error.detail) from error
    if array.size == 0 or array.ndim == 0:
        raise FilesError(f"{path or 'standard input'} has shape {list(array.shape)}; at least one sample is needed")
    return array


def _npy_bytes(array: Array) -> bytes:
    return arrays.write_npy(np.ascontiguousarray(array))


def _csv_bytes(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
