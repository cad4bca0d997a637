"""NDJSON responses of encode and denoise: one form with many files -> a line of JSON per file, as soon as it is ready.

files -> a few at a time: parse_file -> inference -> {"index", "name", "latents" | "image" | "outputs" | "problem"}
                                         `-> ?report=: {"index", "name", "progress" | "page"}, lines before that one

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
from service.api.v1.body import parse_file
from service.api.v1.negotiation import choose
from service.codecs import images
from service.codecs.buffers import SLICE_BYTES
from service.codecs.formats import (
    IMAGE_FORMAT_OF,
    JPEG,
    JSON,
    MULTIPART_FORM,
    NDJSON,
    NPY,
    PDF,
    PNG,
    parse_media_type,
)
from service.codecs.json_documents import json_writer
from service.codecs.multipart import FormPart
from service.errors import DeadlineExceeded, ServiceError, problem
from service.imaging.picture import Picture
from service.inference import cost
from service.inference.admission import Permit
from service.inference.documents import Documents, OnPage
from service.inference.engine import Inference, Result
from service.inference.inputs import Images, Preprocessor
from service.inference.operations import OPERATIONS
from service.inference.options import Options
from service.inference.payload import Payload
from service.inference.progress import Progress
from service.inference.scheduler import Scheduler
from service.model.manifest import Operation
from service.model.runtime import Model
from service.observability.request_record import request_record
from service.observability.statistics import RequestTimer
from service.server.cancellation import Deadline, cancel_on_disconnect
from service.settings import MEGAPIXEL

OPERATIONS_ON_FILES: tuple[Operation, ...] = ("encode", "denoise")
REPORT_INTERVAL = 0.5  # seconds between two lines of progress, which also keep proxies from giving up
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
    documents: Documents
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
        headers = {
            "content-type": NDJSON,
            "model-name": manifest.name,
            "model-version": str(manifest.version),
            "x-accel-buffering": "no",  # nginx and its like pass each line on at once
        }
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
                line = await _process_and_report(stream, index, permit, deadline, send)
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


async def _process_and_report(stream: FileStream, index: int, permit: Permit, deadline: Deadline, send: Send) -> bytes:
    """As `_process_file`; meanwhile lines of progress are sent, if the request asks for them."""
    progress = Progress()
    if stream.options.report is None:
        return await _process_file(stream, index, permit, deadline, progress, send)
    reporter = asyncio.create_task(_report_progress(stream, index, progress, send))
    try:
        return await _process_file(stream, index, permit, deadline, progress, send)
    finally:
        reporter.cancel()


async def _report_progress(stream: FileStream, index: int, progress: Progress, send: Send) -> None:
    while True:
        seconds = progress.seconds_left
        left = {} if seconds is None else {"seconds_left": round(seconds, 1)}
        line = _write_line(stream, index, {"progress": round(progress.fraction, 4), **left})
        await _send_report(stream, send, line)
        await asyncio.sleep(REPORT_INTERVAL)


async def _process_file(
    stream: FileStream, index: int, permit: Permit, deadline: Deadline, progress: Progress, send: Send
) -> bytes:
    """The line with the result of one file."""
    file = stream.pending[index]
    model, operation = stream.model, stream.operation
    payload = await stream.scheduler.call(
        partial(parse_file, label="the file", model=model, operation=operation),
        file,
        len(file.data) * cost.COPIED_BYTE,
    )

    runs = 2 if stream.options.strength > 1 else 1

    def add_pixels(pixels: int) -> None:
        stream.pixels += pixels
        deadline.extend(runs * pixels / MEGAPIXEL * stream.per_megapixel)

    def plan_document(pixels: int) -> None:
        add_pixels(pixels)
        progress.plan(runs * pixels)

    async def send_page(number: int, count: int, before: Picture, after: Picture) -> None:
        previews = await stream.scheduler.run(_encode_preview, (before, after))
        page = {"page": number, "pages": count, "before": previews[0], "after": previews[1]}
        line = await stream.scheduler.call(partial(_write_line, stream, index), page)
        await _send_report(stream, send, line)

    on_page = send_page if stream.options.report == "pages" else None
    if payload.format == "pdf":
        document = await stream.documents.denoise(
            model, file.data, stream.options, permit, plan_document, progress, on_page
        )
        stream.timer.samples += document.pages
        outcome = {"media_type": PDF, "image": json_writer.Base64(document.data)}
        return await stream.scheduler.call(partial(_write_line, stream, index), outcome)
    inputs = await stream.preprocessor.prepare(model, operation, payload, stream.options, permit)
    media_type = NPY if payload.format == "npy" else responses.negotiate(None, model, operation, payload, inputs)
    add_pixels(permit.pixels)
    if isinstance(inputs, Images):
        progress.plan(runs * inputs.pixels)
    if on_page is not None and isinstance(inputs, Images):
        result = await _denoise_pages(stream, inputs, progress, on_page)
    else:
        result = await stream.inference.run(model, operation, inputs, stream.options, progress)
    permit.reserve_pixels_up_to(result.size)  # before they are written
    stream.timer.samples += len(result.samples)

    def write(result: Result) -> bytes:
        return _write_line(stream, index, _describe(stream, result, media_type, payload))

    line_cost = responses.serialization_cost(result, JSON if media_type == NPY else media_type)
    return await stream.scheduler.call(write, result, line_cost)


async def _denoise_pages(stream: FileStream, inputs: Images, progress: Progress, on_page: OnPage) -> Result:
    """The result for all pages, of which each is passed on as it is ready."""
    pictures: list[Picture] = []
    starts, ends = [], []
    for number, picture in enumerate(inputs.pictures, 1):
        result = await stream.inference.run(
            stream.model, stream.operation, Images((picture,)), stream.options, progress
        )
        (page,) = result.pictures or (Picture(result.samples[0]),)
        pictures.append(page)
        starts.append(result.run_start)
        ends.append(result.run_end)
        await on_page(number, inputs.count, picture, page)
    samples = tuple(picture.pixels for picture in pictures)
    return Result(samples, tuple(pictures), run_start=min(starts), run_end=max(ends))


def _encode_preview(picture: Picture) -> json_writer.Base64:
    """What every browser shows."""
    is_too_long = max(picture.pixels.shape[:2]) > IMAGE_FORMAT_OF[JPEG].max_side
    return json_writer.Base64(images.encode(picture, PNG if is_too_long else JPEG))


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
    """Send the line that ends a file; `send` waits for a slow client."""
    async with stream.send_lock:
        del stream.pending[index]  # before sending: the deadline may expire while `send` waits
        await _send_slices(send, line)


async def _send_report(stream: FileStream, send: Send, line: bytes) -> None:
    """Send a line that is not the file's last."""
    async with stream.send_lock:
        await _send_slices(send, line)


async def _send_slices(send: Send, line: bytes) -> None:
    for start in range(0, len(line), SLICE_BYTES):  # the server copies each
        await send({"type": "http.response.body", "body": line[start : start + SLICE_BYTES], "more_body": True})
