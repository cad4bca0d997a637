"""Many files in one form, encoded: a line of JSON for each, as soon as it is ready (NDJSON).

files -> some at a time: file_payload -> inference -> {"index", "name", "latents"} or {"index", "name", "problem"}

A file that cannot be used is a line, and ends no other. The next file is begun when a line has been taken, so a slow
reader is waited for, and what is inside stays a few files beside the body. Who hangs up takes the rest along.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from time import perf_counter
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.api import error_handlers
from service.api.v1.body import file_payload
from service.api.v1.negotiation import choose
from service.codecs import arrays
from service.codecs.formats import JSON, MULTIPART_FORM, NDJSON, NPY, parse_media_type
from service.codecs.multipart import FormPart
from service.errors import DeadlineExceeded, ServiceError, problem
from service.inference.admission import Permit
from service.inference.engine import Inference
from service.inference.inputs import Preprocessor
from service.inference.options import Options
from service.model.runtime import Model
from service.observability.request_record import of
from service.observability.statistics import Request as Counted
from service.server.cancellation import Deadline, until_gone
from service.settings import MEGAPIXEL

_log = logging.getLogger("service.streaming")


def accepts_ndjson(content_type: str | None, accept: str | None) -> bool:
    """Whether a form is to be answered line by line: by Accept."""
    if accept is None or "ndjson" not in accept or parse_media_type(content_type) != MULTIPART_FORM:
        return False
    return choose(accept, (JSON, NPY, NDJSON)) == NDJSON


@dataclass
class EncodeStream:
    """What one request is about.

    Args:
        seconds, per_megapixel: that it may take, and that each million pixels may take beside.
        at_once: files that are worked on side by side.
        pending: files that have no line yet, by index.
    """

    preprocessor: Preprocessor
    inference: Inference
    model: Model
    options: Options
    permit: Permit
    counted: Counted
    seconds: float
    per_megapixel: float
    at_once: int
    pending: dict[int, FormPart]
    pixels: int = 0
    sending: asyncio.Lock = field(default_factory=asyncio.Lock)


class NdjsonResponse(Response):
    """The answer, made while it is sent.

    Args:
        held: what the request holds until then: admission, its count.
    """

    def __init__(self, work: EncodeStream, held: ExitStack) -> None:
        self._work, self._held = work, held
        manifest = work.model.manifest
        headers = {"content-type": NDJSON, "model-name": manifest.name, "model-version": str(manifest.version)}
        self.raw_headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self.status_code, self.background = HTTPStatus.OK, None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        work, request, seen = self._work, Request(scope, receive), of(scope)
        path, began = scope["path"], perf_counter()
        with self._held:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            try:
                with Deadline(work.seconds) as deadline:
                    await until_gone(request, _all(work, path, deadline, send))
            except ClientDisconnect:
                seen.reason = "client_gone"
                return
            except DeadlineExceeded as late:
                for index in tuple(work.pending):
                    await _send(work, send, index, problem=late.problem(path))
            finally:
                seen.pixels = work.pixels
                seen.stages.append(("run", began, perf_counter()))
            await send({"type": "http.response.body", "body": b""})


async def _all(work: EncodeStream, path: str, deadline: Deadline, send: Send) -> None:
    waiting = iter(tuple(work.pending))
    async with asyncio.TaskGroup() as group:
        for _ in range(min(work.at_once, len(work.pending))):
            group.create_task(_some(work, waiting, path, deadline, send))


async def _some(work: EncodeStream, waiting: Iterator[int], path: str, deadline: Deadline, send: Send) -> None:
    for index in waiting:
        try:
            latents = await _encoded(work, index, deadline)
        except ServiceError as error:
            if error.status == HTTPStatus.INTERNAL_SERVER_ERROR:
                _log.error("%s: %s", path, error.detail, exc_info=error.__cause__)
            await _send(work, send, index, problem=error.problem(path))
            error_handlers.drop_traceback(error)
        except Exception as error:  # noqa: BLE001  (one file's bug is no other file's)
            _log.exception("%s failed: this is a bug", path)
            await _send(work, send, index, problem=problem(path, *error_handlers.INTERNAL_ERROR))
            error_handlers.drop_traceback(error)
        else:
            work.counted.samples += len(latents)
            await _send(work, send, index, latents=latents)


async def _encoded(work: EncodeStream, index: int, deadline: Deadline) -> Any:
    """Latents [N,...]; its pixels are held while they are here."""
    payload = file_payload(work.pending[index], "the file")
    with work.permit.sub_permit() as permit:
        inputs = await work.preprocessor.prepare(work.model, "encode", payload, work.options, permit)
        work.pixels += permit.pixels
        deadline.extend(permit.pixels / MEGAPIXEL * work.per_megapixel)
        return (await work.inference.run(work.model, "encode", inputs, work.options)).samples


async def _send(work: EncodeStream, send: Send, index: int, **outcome: Any) -> None:
    """One line; `send` waits while the caller does not take what was sent."""
    line = arrays.write_json({"index": index, "name": work.pending[index].filename, **outcome})
    async with work.sending:
        del work.pending[index]  # and not behind: the deadline may come while the caller takes its time
        await send({"type": "http.response.body", "body": line + b"\n", "more_body": True})
