"""Very many files on all machines of a Ray cluster: `autoencoder-service denoise @list.txt -o OUT --engine ray`.

files -> OUT/plan.parquet (a row group a chunk) -> Ray Data: chunks without a record -> Worker -> OUT/records/N.parquet

The plan is written once and never changes: every file stands in one chunk, and every chunk has one record, which
appears whole or not at all. So whatever is killed, be it a worker, a machine or the command itself, the same command
goes on with the chunks that have no record, and each file is in the records exactly once. A chunk that was broken off
is done again, onto the same names.

A record has a row for each file: `file`, `source`, `seconds`, `error` (null: it went well), and `output`, where the
cleaned picture is, or `latent`, the float32 numbers in the order of `shape`. All machines must see the files, OUT and
the models under the same paths.

Ray is the cluster that RAY_ADDRESS names (`auto`: the one on this machine), else one started here for the command.
"""

import argparse
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
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from service.cli import files
from service.cli.files import FilesError, Job, Told
from service.model.providers import usable_cores
from service.settings import Settings

MIB = 2**20
STORE = 80 * MIB  # of Ray's shared memory where Ray is started here: only numbers of chunks pass through it

PLAN = pa.schema([("file", pa.string()), ("source", pa.string()), ("destination", pa.string())])
RESULTS = {
    "denoise": [("output", pa.string())],
    "encode": [("shape", pa.list_(pa.int64())), ("latent", pa.list_(pa.float32()))],
}


def record_schema(operation: str) -> pa.Schema:
    """The columns of a record."""
    common = [("file", pa.string()), ("source", pa.string()), ("seconds", pa.float64()), ("error", pa.string())]
    return pa.schema([*common, *RESULTS[operation]])


def run(operation: str, asked: argparse.Namespace, settings: Settings) -> int:
    """Exit code 0; 1 if a file failed, now or before; 130 when interrupted. Raises FilesError if it cannot go on."""
    return files.ended(lambda: _run(operation, asked, settings), asked.output)


def _run(operation: str, asked: argparse.Namespace, settings: Settings) -> int:
    try:
        import ray
        import ray.data
        import ray.exceptions
    except ImportError as error:
        raise FilesError(files.RAY_WANTED) from error
    if asked.url is not None or files.PIPE in (*asked.inputs, asked.output):
        raise FilesError("--engine ray reads files and opens the models itself: leave out --url and -")
    if asked.chunk < 1:
        raise FilesError(f"--chunk is {asked.chunk}; a record is of at least one file")
    out = Path(asked.output).absolute()
    model, directory = files.package_for(operation, asked, settings)
    asked.model, asked.model_version = model, int(directory.name)
    settings = settings.model_copy(update={"models": settings.models.absolute()})
    plan = planned(operation, asked, out)
    chunks = missing(out)
    told = Told({"denoise": "cleaned", "encode": "encoded"}[operation], plan.num_rows, as_json=False)
    there, failed = _counted(out)
    told.there = there - failed
    if chunks:
        gpu = settings.provider in ("cuda", "tensorrt")
        alone = {"address": "local", "num_cpus": usable_cores(), "object_store_memory": STORE}
        cluster = {} if "RAY_ADDRESS" in os.environ else {**alone, "include_dashboard": False}
        ray.init(logging_level="error", log_to_driver=False, **cluster)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        ray.data.DataContext.get_current().enable_progress_bars = False  # Told has its own
        try:
            done = ray.data.from_items(chunks, override_num_blocks=len(chunks)).map_batches(
                Worker,
                fn_constructor_args=(operation, asked, settings, out),
                batch_size=1,
                num_cpus=1,
                num_gpus=1 if gpu else None,
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=len(chunks)),
            )
            for row in done.iter_rows():
                told.passed(row["done"], row["failed"])
        except (ray.exceptions.RayError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[-1]
            raise FilesError(f"Ray gave up; the same command goes on from here: {reason}") from error
        finally:
            ray.shutdown()
    total, failed = _counted(out)
    told.done, told.failed = total - failed - told.there, failed
    if failed:
        print(f"what failed, and why: column error of {out}/records", file=sys.stderr)
    return told.summary()


# --- the plan -------------------------------------------------------------------------------------------------


def planned(operation: str, asked: argparse.Namespace, out: Path) -> pq.FileMetaData:
    """OUT's plan, made now if there is none; FilesError if it is the plan of another command."""
    options = {
        name: value for name, value in sorted(vars(asked).items())
        if name in ("inputs", "model", "model_version", "strength", "dpi", "fit", "chunk")
    }  # fmt: skip
    command = json.dumps({"operation": operation, **options}).encode()
    path = out / "plan.parquet"
    if not path.exists():
        table = pa.Table.from_pylist([_row(job) for job in _jobs(operation, asked)], PLAN)
        _write(path, table.replace_schema_metadata({"command": command}), asked.chunk)
    found = pq.read_metadata(path)
    if (found.metadata or {}).get(b"command") != command:
        raise FilesError(f"{out} holds what another command began; the same one goes on with it, or choose another -o")
    return found


def _jobs(operation: str, asked: argparse.Namespace) -> list[Job]:
    if operation == "encode":
        return [Job(source, name, None) for source, name in files.sources_of(asked.inputs)]
    jobs = files.jobs_of(asked.inputs, f"{asked.output}/", files.CLEANED, files.written)
    for job in jobs:
        files.check_pdf(job, here=True)
    return jobs


def _row(job: Job) -> dict[str, str | None]:
    source, destination = (None if path is None else str(path.absolute()) for path in (job.source, job.destination))
    return {"file": job.name, "source": source, "destination": destination}


def missing(out: Path) -> list[int]:
    """The chunks of OUT's plan that have no record yet."""
    count = pq.read_metadata(out / "plan.parquet").num_row_groups
    return [chunk for chunk in range(count) if not _record(out, chunk).exists()]


def _record(out: Path, chunk: int) -> Path:
    return out / "records" / f"{chunk:06}.parquet"


def _counted(out: Path) -> tuple[int, int]:
    """Files in the records, and how many of them failed."""
    paths = [str(path) for path in (out / "records").glob("[0-9]*.parquet")]
    if not paths:
        return 0, 0
    records = ds.dataset(paths)
    return records.count_rows(), records.count_rows(filter=ds.field("error").is_valid())


# --- a worker -------------------------------------------------------------------------------------------------


class Worker:
    """Opens the model once, with one core or one GPU, and works on chunks: {item: [chunk]} -> {done, failed}."""

    def __init__(self, operation: str, asked: argparse.Namespace, settings: Settings, out: Path) -> None:
        self.operation, self.asked, self.out = operation, asked, out
        self.settings = settings.model_copy(update={"workers": 1})
        self.runner = asyncio.Runner()
        self.open = contextlib.AsyncExitStack()
        context = files.client_for(operation, asked, self.settings)
        self.client, self.model = self.runner.run(self.open.enter_async_context(context))

    def close(self) -> None:
        self.runner.run(self.open.aclose())
        self.runner.close()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[int]]:
        rows = [row for chunk in batch["item"] for row in self.runner.run(self._chunk(int(chunk)))]
        failed = sum(row["error"] is not None for row in rows)
        return {"done": [len(rows) - failed], "failed": [failed]}

    async def _chunk(self, chunk: int) -> Sequence[dict[str, Any]]:
        """The rows of the chunk's record, which is written."""
        with pq.ParquetFile(self.out / "plan.parquet") as plan:
            lines = plan.read_row_group(chunk).to_pylist()
        rows: list[dict[str, Any]] = [{"file": line["file"], "source": line["source"]} for line in lines]
        jobs = [
            Job(Path(line["source"]), str(number), Path(line["destination"]) if line["destination"] else None)
            for number, line in enumerate(lines)
        ]

        async def one(job: Job) -> None:
            started = time.monotonic()
            row = rows[int(job.name)]
            if self.operation == "denoise":
                await files.clean(self.client, self.model, self.asked, job)
                row["output"] = str(job.destination)
            else:
                made = await files.latent(self.client, self.model, self.asked, job)
                row["shape"], row["latent"] = made.shape, made.ravel()
            row["seconds"] = time.monotonic() - started

        def failed(job: Job, sentence: str) -> None:
            rows[int(job.name)]["error"] = sentence

        await files.each(jobs, one, failed, 1 + files.AT_ONCE)
        _write(_record(self.out, chunk), pa.Table.from_pylist(rows, record_schema(self.operation)))
        return [{"error": None, **row} for row in rows]


def _write(path: Path, table: pa.Table, rows: int | None = None) -> None:
    """Whole or not at all, under a name of its own until then: Ray may have two workers at one chunk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    data = io.BytesIO()
    pq.write_table(table, data, row_group_size=rows)
    try:
        part.write_bytes(data.getbuffer())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
