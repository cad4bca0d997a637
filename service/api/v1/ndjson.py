"""NDJSON responses of encode and denoise: one form with many files -> a line of JSON per file, as soon as it is ready.

files -> a few at a time: file_payload -> inference -> {"index", "name", "latents" | "image" | "outputs" | "problem"}

An invalid file becomes a line with a problem and does not affect the others. A file starts only when an earlier line
was sent: a slow client slows the work down, and memory holds a few files' arrays beside the body. A disconnect cancels
the remaining files.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.api import error_handlers
from service.api.v1 import responses
from service.api.v1.body import file_payload
from service.api.v1.negotiation import choose
from service.codecs import json_writer
from service.codecs.buffers import SLICE_BYTES
from service.codecs.formats import JSON, MULTIPART_FORM, NDJSON, NPY, parse_media_type
from service.codecs.multipart import FormPart
from service.errors import DeadlineExceeded, ServiceError, problem
from service.inference import cost
from service.inference.admission import Permit
from service.inference.engine import Inference, Result
from service.inference.inputs import Preprocessor
from service.inference.operations import OPERATIONS
from service.inference.options import Options
from service.inference.payload import Payload
from service.inference.scheduler import Scheduler
from service.model.manifest import Operation
from service.model.runtime import Model
from service.observability.request_record import request_record
from service.observability.statistics import RequestTimer
from service.server.cancellation import Deadline, cancel_on_disconnect
from service.settings import MEGAPIXEL

OPERATIONS_ON_FILES: tuple[Operation, ...] = ("encode", "denoise")
_log = logging.getLogger("service.streaming")


def accepts_ndjson(content_type: str | None, accept: str | None) -> bool:
    """Whether a request with a form asks for NDJSON in its header Accept."""
    if accept is None or "ndjson" not in accept or parse_media_type(content_type) != MULTIPART_FORM:
        return False
    return choose(accept, (JSON, NPY, NDJSON)) == NDJSON


@dataclass
class FileStream:
    """The state of one request.

    Args:
        seconds, per_megapixel: deadline, and its extension for each million pixels.
        concurrency: files that are processed at the same time.
        pending: files without a line so far, by index.
        send_lock: held while a line is sent.
    """

    preprocessor: Preprocessor
    inference: Inference
    scheduler: Scheduler
    model: Model
    operation: Operation
    options: Options
    permit: Permit
    timer: RequestTimer
    seconds: float
    per_megapixel: float
    concurrency: int
    pending: dict[int, FormPart]
    pixels: int = 0
    send_lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class NdjsonResponse(Response):
    """A streaming response: the files are processed while it is sent.

    Args:
        resources: closed at the end of the response: the permit of admission, the request's timer.
    """

    def __init__(self, stream: FileStream, resources: ExitStack) -> None:
        self._stream, self._resources = stream, resources
        manifest = stream.model.manifest
        headers = {"content-type": NDJSON, "model-name": manifest.name, "model-version": str(manifest.version)}
        self.raw_headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self.status_code, self.background = HTTPStatus.OK, None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stream, request, record = self._stream, Request(scope, receive), request_record(scope)
        path = scope["path"]
        record.start_stage()
        with self._resources:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            try:
                with Deadline(stream.seconds) as deadline:
                    await cancel_on_disconnect(request, _process_files(stream, path, deadline, send))
            except ClientDisconnect:
                record.reason = "client_gone"
                return
            except DeadlineExceeded as error:
                for index in tuple(stream.pending):
                    line = _write_line(stream, index, {"problem": error.problem(path)})
                    await _send(stream, send, index, line)
            finally:
                record.pixels = stream.pixels
                record.end_stage("run")
            await send({"type": "http.response.body", "body": b""})


async def _process_files(stream: FileStream, path: str, deadline: Deadline, send: Send) -> None:
    indices = iter(tuple(stream.pending))
    async with asyncio.TaskGroup() as group:
        for _ in range(min(stream.concurrency, len(stream.pending))):
            group.create_task(_run_worker(stream, indices, path, deadline, send))


async def _run_worker(stream: FileStream, indices: Iterator[int], path: str, deadline: Deadline, send: Send) -> None:
    for index in indices:
        with stream.permit.sub_permit() as permit:  # until its line is sent
            try:
                line = await _process_file(stream, index, permit, deadline)
            except ServiceError as error:
                if error.status == HTTPStatus.INTERNAL_SERVER_ERROR:
                    _log.error("%s: %s", path, error.detail, exc_info=error.__cause__)
                line = _write_line(stream, index, {"problem": error.problem(path)})
                error_handlers.drop_traceback(error)
            except Exception as error:  # noqa: BLE001  (a bug with one file does not affect the others)
                _log.exception("%s failed: this is a bug", path)
                line = _write_line(stream, index, {"problem": problem(path, *error_handlers.INTERNAL_ERROR)})
                error_handlers.drop_traceback(error)
            await _send(stream, send, index, line)


async def _process_file(stream: FileStream, index: int, permit: Permit, deadline: Deadline) -> bytes:
    """The line with the result of one file."""
    file = stream.pending[index]
    payload = await stream.scheduler.call(
        partial(file_payload, label="the file"), file, len(file.data) * cost.COPIED_BYTE
    )
    model, operation = stream.model, stream.operation
    inputs = await stream.preprocessor.prepare(model, operation, payload, stream.options, permit)
    media_type = NPY if payload.format == "npy" else responses.negotiate(None, model, operation, payload, inputs)
    stream.pixels += permit.pixels
    runs = 2 if stream.options.strength > 1 else 1
    deadline.extend(runs * permit.pixels / MEGAPIXEL * stream.per_megapixel)
    result = await stream.inference.run(model, operation, inputs, stream.options)
    permit.reserve_pixels_up_to(result.size)  # before they are written
    stream.timer.samples += len(result.samples)

    def write(result: Result) -> bytes:
        return _write_line(stream, index, _describe(stream, result, media_type, payload))

    line_cost = responses.serialization_cost(result, JSON if media_type == NPY else media_type)
    return await stream.scheduler.call(write, result, line_cost)


def _describe(stream: FileStream, result: Result, media_type: str, payload: Payload) -> dict[str, Any]:
    """The members of a file's line: latents; of an array numbers; of a picture the file in base64."""
    if OPERATIONS[stream.operation].returns_latents:
        if stream.options.top is not None:
            result = responses.choose_largest(result, stream.model, stream.options.top)
        return responses.describe_latents(result, is_scaled=stream.options.latents is not None)
    if media_type == NPY:
        return {"outputs": responses.to_array(result)}
    response = responses.serialize(result, media_type, stream.model, stream.operation, payload)
    members = {"media_type": media_type, "image": json_writer.Base64(bytes(response.body))}
    dropped = response.headers.get("dropped-metadata")
    return members if dropped is None else {**members, "dropped_metadata": dropped}


def _write_line(stream: FileStream, index: int, outcome: dict[str, Any]) -> bytes:
    return json_writer.write({"index": index, "name": stream.pending[index].filename, **outcome}, end=b"\n")


async def _send(stream: FileStream, send: Send, index: int, line: bytes) -> None:
    """Send one line; `send` waits for a slow client."""
    async with stream.send_lock:
        del stream.pending[index]  # before sending: the deadline may expire while `send` waits
        for start in range(0, len(line), SLICE_BYTES):  # the server copies each
            await send({"type": "http.response.body", "body": line[start : start + SLICE_BYTES], "more_body": True})
