"""Batches of many files on a Ray cluster: `autoencoder-service denoise @list.txt -o OUT --engine ray`.

files -> OUT/plan.parquet (row groups: chunks) -> Ray Data: chunks without a record -> Worker -> OUT/records/N.parquet

The plan is written once and never changes: every file is in one chunk, and every chunk has one record, which is
written whole or not at all. If a worker, a machine or the command itself is killed, the same command continues with
the chunks that have no record, and each file is in the records exactly once. An interrupted chunk is done again and
writes the same names.

A record has a row for each file: `file`, `source`, `seconds`, `error` (null: success), and `output`, the path of the
cleaned image, or `latent`, the float32 numbers in the order of `shape`. All machines need the files, OUT and the
models under the same paths.

RAY_ADDRESS names the cluster (`auto`: the one on this machine); without it, one is started here for the command.
"""

import asyncio
import contextlib
import io
import json
import logging
import os
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from service.cli import files
from service.cli.errors import FilesError
from service.cli.file_jobs import DENOISED_TYPES, Job, check_pdf, expand_inputs, output_name, plan_jobs
from service.cli.file_options import PIPE, RAY_MISSING, FileOptions
from service.cli.local_client import client_for, package_for
from service.cli.progress import Progress
from service.model.files.plain_files import to_printable
from service.model.providers import count_usable_cores
from service.settings import Settings

OBJECT_STORE_BYTES = 80 * 2**20  # Ray's shared memory where Ray is started here: only chunk numbers pass through it

# paths are bytes: a name need not be UTF-8 (plans from before hold text)
PLAN_SCHEMA = pa.schema([("file", pa.string()), ("source", pa.binary()), ("destination", pa.binary())])
RESULT_COLUMNS = {
    "denoise": [("output", pa.string())],
    "encode": [("shape", pa.list_(pa.int64())), ("latent", pa.list_(pa.float32()))],
}
PLAN_OPTIONS = {  # in the order of their names: a plan is continued only with the same values
    "denoise": ("chunk", "dpi", "inputs", "model", "model_version", "strength"),
    "encode": ("chunk", "fit", "inputs", "model", "model_version"),
}


def record_schema(operation: str) -> pa.Schema:
    """The columns of a record."""
    common = [("file", pa.string()), ("source", pa.string()), ("seconds", pa.float64()), ("error", pa.string())]
    return pa.schema([*common, *RESULT_COLUMNS[operation]])


def run(options: FileOptions, settings: Settings) -> int:
    """Exit code 0; 1 if a file failed, now or before; 130 after Ctrl-C. Raises FilesError if it cannot go on."""
    return files.exit_code_of(lambda: _run(options, settings), options.output)


def _run(options: FileOptions, settings: Settings) -> int:
    try:
        import ray
        import ray.data
        import ray.exceptions
    except ImportError as error:
        raise FilesError(RAY_MISSING) from error
    if options.url is not None or PIPE in (*options.inputs, options.output):
        raise FilesError("--engine ray reads files and opens the models itself: leave out --url and -")
    if options.chunk < 1:
        raise FilesError(f"--chunk is {options.chunk}; a record holds at least one file")
    directory = Path(options.output).absolute()
    model, package_key = package_for(options, settings)
    options = replace(options, model=model, model_version=int(package_key.rpartition("/")[2]))
    settings = settings.model_copy(update={"models": settings.models.absolute()})
    plan = open_plan(options, directory)
    chunks = pending_chunks(directory)
    progress = Progress({"denoise": "cleaned", "encode": "encoded"}[options.operation], plan.num_rows, as_json=False)
    total, failure_count = _count_files(directory)
    progress.skip_count = total - failure_count
    if chunks:
        needs_gpu = settings.provider in ("cuda", "tensorrt")
        local_cluster = {
            "address": "local",
            "num_cpus": count_usable_cores(),
            "object_store_memory": OBJECT_STORE_BYTES,
            "include_dashboard": False,
        }
        ray.init(logging_level="error", log_to_driver=False, **({} if "RAY_ADDRESS" in os.environ else local_cluster))
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        ray.data.DataContext.get_current().enable_progress_bars = False  # Progress prints its own
        try:
            results = ray.data.from_items(chunks, override_num_blocks=len(chunks)).map_batches(
                Worker,
                fn_constructor_args=(options, settings, directory),
                batch_size=1,
                num_cpus=1,
                num_gpus=1 if needs_gpu else None,
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=len(chunks)),
            )
            for row in results.iter_rows():
                progress.record_chunk(row["done"], row["failed"])
        except (ray.exceptions.RayError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise FilesError(f"Ray failed; the same command continues from here: {reason}") from error
        finally:
            ray.shutdown()
    total, progress.failure_count = _count_files(directory)
    progress.success_count = total - progress.failure_count - progress.skip_count
    if progress.failure_count:
        print(f"failed files and reasons: column error of {directory}/records", file=sys.stderr)
    return progress.print_summary()


# --- the plan -------------------------------------------------------------------------------------------------


def open_plan(options: FileOptions, directory: Path) -> pq.FileMetaData:
    """The plan in the output directory, written first if there is none.

    Raises:
        FilesError: it is the plan of another command.
    """
    values = {name: getattr(options, name) for name in PLAN_OPTIONS[options.operation]}
    command = json.dumps({"operation": options.operation, **values}).encode()
    path = directory / "plan.parquet"
    if not path.exists():
        table = pa.Table.from_pylist([_plan_row(job) for job in _plan_files(options)], PLAN_SCHEMA)
        _write(path, table.replace_schema_metadata({"command": command}), options.chunk)
    plan = pq.read_metadata(path)
    if (plan.metadata or {}).get(b"command") != command:
        raise FilesError(
            f"{directory} holds the results of another command; continue it with the same one, or choose another -o"
        )
    return plan


def _plan_files(options: FileOptions) -> list[Job]:
    if options.operation == "encode":
        return [Job(source, to_printable(name), None) for source, name in expand_inputs(options.inputs)]
    jobs = plan_jobs(options.inputs, f"{options.output}/", DENOISED_TYPES, output_name)
    for job in jobs:
        check_pdf(job, is_local=True)
    return jobs


def _plan_row(job: Job) -> dict[str, str | bytes | None]:
    paths = (job.source, job.destination)
    source, destination = (None if path is None else os.fsencode(path.absolute()) for path in paths)
    return {"file": job.name, "source": source, "destination": destination}


def pending_chunks(directory: Path) -> list[int]:
    """The chunks of the plan in the output directory that have no record yet."""
    count = pq.read_metadata(directory / "plan.parquet").num_row_groups
    return [chunk for chunk in range(count) if not _record_path(directory, chunk).exists()]


def _record_path(directory: Path, chunk: int) -> Path:
    return directory / "records" / f"{chunk:06}.parquet"


def _count_files(directory: Path) -> tuple[int, int]:
    """The number of files in the records, and how many of them failed."""
    paths = [str(path) for path in (directory / "records").glob("[0-9]*.parquet")]
    if not paths:
        return 0, 0
    records = ds.dataset(paths)
    return records.count_rows(), records.count_rows(filter=ds.field("error").is_valid())


# --- a worker -------------------------------------------------------------------------------------------------


class Worker:
    """Opens the model once, with one core or one GPU, and processes chunks: {item: [chunk]} -> {done, failed}."""

    def __init__(self, options: FileOptions, settings: Settings, directory: Path) -> None:
        self._options, self._directory = options, directory
        self._runner = asyncio.Runner()
        self._exit_stack = contextlib.AsyncExitStack()
        context = client_for(options, settings.model_copy(update={"workers": 1}))
        self._client, self._model = self._runner.run(self._exit_stack.enter_async_context(context))

    def close(self) -> None:
        self._runner.run(self._exit_stack.aclose())
        self._runner.close()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[int]]:
        rows = [row for chunk in batch["item"] for row in self._runner.run(self._process_chunk(int(chunk)))]
        failure_count = sum(row["error"] is not None for row in rows)
        return {"done": [len(rows) - failure_count], "failed": [failure_count]}

    async def _process_chunk(self, chunk: int) -> Sequence[dict[str, Any]]:
        """Process the files of a chunk and write its record; returns the record's rows."""
        with pq.ParquetFile(self._directory / "plan.parquet") as plan:
            entries = plan.read_row_group(chunk).to_pylist()
        paths = [
            tuple(Path(os.fsdecode(entry[key])) if entry[key] else None for key in ("source", "destination"))
            for entry in entries
        ]
        rows: list[dict[str, Any]] = [
            {"file": entry["file"], "source": to_printable(str(source))}
            for entry, (source, _) in zip(entries, paths, strict=True)
        ]
        jobs = [Job(source, str(index), destination) for index, (source, destination) in enumerate(paths)]

        async def process(job: Job) -> None:
            start = time.monotonic()
            row = rows[int(job.name)]
            if self._options.operation == "denoise":
                await files.denoise_file(self._client, self._model, self._options, job)
                row["output"] = to_printable(str(job.destination))
            else:
                latents = await files.encode_file(self._client, self._model, self._options, job)
                row["shape"], row["latent"] = latents.shape, latents.ravel()
            row["seconds"] = time.monotonic() - start

        def report_failure(job: Job, reason: str) -> None:
            rows[int(job.name)]["error"] = reason

        await files.run_concurrently(jobs, process, report_failure, 1 + files.READ_AHEAD)
        schema = record_schema(self._options.operation)
        _write(_record_path(self._directory, chunk), pa.Table.from_pylist(rows, schema))
        return [{"error": None, **row} for row in rows]


def _write(path: Path, table: pa.Table, row_group_size: int | None = None) -> None:
    """Write a file whole or not at all, first under a unique name: Ray may have two workers on one chunk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    data = io.BytesIO()
    pq.write_table(table, data, row_group_size=row_group_size)
    try:
        temporary.write_bytes(data.getbuffer())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
