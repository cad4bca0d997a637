"""Operation handler: the path of an inference request, from its headers to its response.

headers -> admission -> receive -> WireFormat.parse -> Preprocessor -> Inference -> WireFormat.serialize -> response
                                                    -> Documents (PDF)           -> response
                                -> form files       -> NdjsonResponse, which works while it is sent
"""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from service.api.diffusers.format import DiffusersFormat
from service.api.diffusers.query import parse_query as parse_diffusers_query
from service.api.query import parse_deadline, parse_query
from service.api.services import Services
from service.api.v1 import ndjson, responses
from service.api.v1.body import form_files, receive_body
from service.api.v1.format import V1Format
from service.api.v1.negotiation import is_octet_stream
from service.api.v1.neighbours import NeighboursFormat, parse_neighbours_query
from service.api.v1.samples import SampleFormat
from service.api.v2.routes import find_model
from service.api.v2.tensors import V2Format
from service.api.wire_format import WireFormat
from service.codecs.formats import OCTET_STREAM, PARQUET_MAGIC
from service.codecs.json_documents.large_json import LARGE_BYTES
from service.errors import InvalidInput, UnsupportedEncoding
from service.inference import cost
from service.inference.admission import Permit
from service.inference.options import Options
from service.inference.payload import Payload
from service.model.manifest import Operation
from service.model.runtime import Model
from service.observability.request_record import RequestRecord, request_record
from service.observability.statistics import RequestTimer
from service.server.cancellation import Deadline, cancel_on_disconnect
from service.settings import MEGAPIXEL

_WEIGHED_BYTES = 1 << 16  # of a result
UNWATCHED_BYTES = 1 << 14  # of a payload: its response is ready before its caller has the time to disconnect


@dataclass(slots=True)
class _Execution:
    """One admitted request within its deadline.

    Args:
        headers: of the request.
        permit, timer: released and counted when the request ends.
        deadline: extended by the request's pixels, unless the caller has set it.
    """

    headers: dict[bytes, str]
    model: Model
    operation: Operation
    wire_format: WireFormat
    permit: Permit
    timer: RequestTimer
    deadline: Deadline
    record: RequestRecord


class OperationHandler:
    """Handles the operations of /v1 and /diffusers, and `infer` of /v2; errors are raised."""

    def __init__(self, services: Services) -> None:
        self._services, self._settings = services, services.settings

    async def handle_v1(self, request: Request, name: str, version: str | None, operation: Operation) -> Response:
        """POST /v1/models/<name>[/versions/<version>]/<operation>."""
        settings, headers = self._settings, _decode_headers(request)
        options = parse_query(request.scope["query_string"], operation)
        model, record = self._find_model(request, name, version, operation)
        seconds = parse_deadline(headers.get(b"request-deadline"), settings.max_deadline)
        wants_bytes = is_octet_stream(headers.get(b"accept"))
        if wants_bytes:
            del headers[b"accept"]
        content_type, accept = headers.get(b"content-type"), headers.get(b"accept")
        _check_encoding(headers)
        if operation in ndjson.OPERATIONS_ON_FILES and ndjson.accepts_ndjson(content_type, accept):
            return await self.stream_files(request, headers, record, model, operation, options, seconds)
        if options.report is not None:
            raise InvalidInput(
                "report is for an answer in lines: send a form, -F image=@FILE, with the header Accept: "
                "application/x-ndjson"
            )
        wire_format: WireFormat
        if operation == "sample":
            wire_format = SampleFormat(model, accept, options, seconds, settings.max_batch)
        else:
            wire_format = V1Format(model, operation, content_type, accept, options, seconds, settings.max_batch)
        response = await self.execute(request, headers, record, model, operation, wire_format)
        if wants_bytes:
            response.headers["content-type"] = OCTET_STREAM
        return response

    async def handle_neighbours(self, request: Request, name: str, version: str | None) -> Response:
        """POST /v1/models/<name>[/versions/<version>]/neighbours."""
        services, settings, headers = self._services, self._settings, _decode_headers(request)
        count, options = parse_neighbours_query(request.scope["query_string"])
        model, record = self._find_model(request, name, version, "encode")
        record.operation = "neighbours"
        seconds = parse_deadline(headers.get(b"request-deadline"), settings.max_deadline)
        content_type, accept = headers.get(b"content-type"), headers.get(b"accept")
        if is_octet_stream(accept):  # as it is without Accept
            accept = None
        _check_encoding(headers)
        index = await services.find_index(model)
        encode = V1Format(model, "encode", content_type, accept, options, seconds, settings.max_batch)
        wire_format = NeighboursFormat(encode, index, count, options, seconds)
        return await self.execute(request, headers, record, model, "encode", wire_format)

    async def handle_v2(self, request: Request, name: str, version: str | None) -> Response:
        """POST /v2/models/<name>[/versions/<version>]/infer."""
        settings, headers = self._settings, _decode_headers(request)
        model, operation = find_model(self._services.registry, name, version)
        record = request_record(request.scope)
        record.model, record.version, record.operation = model.manifest.name, str(model.manifest.version), operation
        options = parse_query(request.scope["query_string"], operation)
        seconds = parse_deadline(headers.get(b"request-deadline"), settings.max_deadline)
        length, encoding = headers.get(b"inference-header-content-length"), headers.get(b"content-encoding")
        wire_format = V2Format(name, model, operation, length, encoding, options, seconds, settings.max_deadline)
        return await self.execute(request, headers, record, model, operation, wire_format)

    async def handle_diffusers(
        self, request: Request, name: str, version: str | None, operation: Operation
    ) -> Response:
        """POST /diffusers/<name>[/versions/<version>]/<operation>."""
        headers = _decode_headers(request)
        model, record = self._find_model(request, name, version, operation)
        if model.modality != "image":
            raise InvalidInput(f"{name} is not of pictures; use /v1/models/{name}/{operation}")
        query = parse_diffusers_query(request.scope["query_string"], operation, model)
        seconds = parse_deadline(headers.get(b"request-deadline"), self._settings.max_deadline)
        _check_encoding(headers)
        wire_format = DiffusersFormat(model, operation, query, headers.get(b"accept"), seconds)
        return await self.execute(request, headers, record, model, operation, wire_format)

    def _find_model(
        self, request: Request, name: str, version: str | None, operation: Operation
    ) -> tuple[Model, RequestRecord]:
        """The model, which has the operation, and the record of the request, which names it."""
        model = self._services.registry.get(name, version)
        record = request_record(request.scope)
        record.model, record.version = model.manifest.name, str(model.manifest.version)
        model.input_port(operation)  # raises if the model does not have the operation
        return model, record

    async def execute(
        self,
        request: Request,
        headers: dict[bytes, str],
        record: RequestRecord,
        model: Model,
        operation: Operation,
        wire_format: WireFormat,
    ) -> Response:
        """One request within its deadline; its permit is released on every path."""
        services = self._services
        with services.statistics.time_request(model, operation) as timer, services.admission.enter() as permit:
            body = await self.receive(request, headers, permit, record)
            with Deadline(wire_format.seconds or self._settings.deadline) as deadline:
                # numbers are reserved before they are made
                if len(body) > LARGE_BYTES or operation == "sample" or body.startswith(PARQUET_MAGIC):
                    numbers = await services.scheduler.call(
                        wire_format.count_numbers, body, wire_format.parsing_cost(body)
                    )
                    permit.reserve_pixels(numbers)
                payload = await services.scheduler.call(wire_format.parse, body, wire_format.parsing_cost(body))
                del body  # it may be large, and its content is in `payload`
                seconds = wire_format.seconds
                if seconds is not None and seconds != deadline.seconds:  # it is stated in the body
                    deadline.extend(seconds - deadline.seconds)
                run = self.run_document if payload.format == "pdf" else self.run_images
                work = run(_Execution(headers, model, operation, wire_format, permit, timer, deadline, record), payload)
                if payload.size <= UNWATCHED_BYTES and payload.format != "pdf":
                    return await work
                return await cancel_on_disconnect(request, work)

    async def receive(
        self, request: Request, headers: dict[bytes, str], permit: Permit, record: RequestRecord
    ) -> bytes:
        """The complete body; its bytes are reserved, then a place is occupied."""
        record.start_stage()
        body = await receive_body(
            request, headers.get(b"content-length"), self._settings.max_body_bytes, permit.reserve_bytes
        )
        record.bytes_in = len(body)
        record.end_stage("receive")
        permit.occupy()
        return body

    async def run_images(self, execution: _Execution, payload: Payload) -> Response:
        """The response for images, arrays and latents."""
        services, record, wire_format = self._services, execution.record, execution.wire_format
        model, operation = execution.model, execution.operation
        inputs = await services.preprocessor.prepare(model, operation, payload, wire_format.options, execution.permit)
        self._extend_deadline(execution, execution.permit.pixels)
        wire_format.negotiate(payload, inputs)
        record.pixels = execution.permit.pixels
        record.end_stage("decode")
        result = await services.inference.run(model, operation, inputs, wire_format.options)
        del inputs  # the response may be as large
        if result.nbytes > _WEIGHED_BYTES:  # before it is written; that of a fixed shape is reserved already
            execution.permit.reserve_pixels_up_to(result.size)
        execution.timer.samples = len(result.samples)
        record.end_stage("queue", result.run_start)
        record.end_stage("run", result.run_end)
        record.start_stage()
        if result.percentile is not None:
            services.metrics.record_percentiles(record.model, result.percentile)
        response = await services.scheduler.call(wire_format.serialize, result, wire_format.serialization_cost(result))
        record.end_stage("encode")
        return response

    async def run_document(self, execution: _Execution, payload: Payload) -> Response:
        """The response for a PDF."""
        responses.negotiate_pdf(execution.headers.get(b"accept"))
        (part,) = payload.parts
        data = part.data if isinstance(part.data, bytes) else b""

        def on_pixels(pixels: int) -> None:
            execution.record.pixels = pixels
            self._extend_deadline(execution, pixels)

        document = await self._services.documents.denoise(
            execution.model, data, execution.wire_format.options, execution.permit, on_pixels
        )
        execution.timer.samples = document.pages
        execution.record.end_stage("run")
        return responses.pdf_response(document.data, execution.model)

    async def stream_files(
        self,
        request: Request,
        headers: dict[bytes, str],
        record: RequestRecord,
        model: Model,
        operation: Operation,
        options: Options,
        seconds: float | None,
    ) -> Response:
        """A response that processes the form's files while it is sent, and releases the permit afterwards."""
        services, settings = self._services, self._settings
        with ExitStack() as resources:
            timer = resources.enter_context(services.statistics.time_request(model, operation))
            permit = resources.enter_context(services.admission.enter())
            body = await self.receive(request, headers, permit, record)
            parse = partial(form_files, content_type=headers.get(b"content-type", ""), max_parts=settings.max_batch)
            files = await services.scheduler.call(parse, body, len(body) * cost.JSON_BYTE)
            stream = ndjson.FileStream(
                services.preprocessor,
                services.inference,
                services.documents,
                services.scheduler,
                model,
                operation,
                options,
                permit,
                timer,
                seconds or settings.deadline,
                0 if seconds else settings.deadline_per_megapixel,
                settings.workers + 2,
                dict(enumerate(files)),
            )
            return ndjson.NdjsonResponse(stream, resources.pop_all())

    def _extend_deadline(self, execution: _Execution, pixels: int) -> None:
        """A large request gets more time, and twice as much if it is denoised twice.

        Not if its caller has set the deadline.
        """
        if execution.wire_format.options.strength > 1:
            pixels *= 2
        if execution.wire_format.seconds is None and pixels > MEGAPIXEL:
            execution.deadline.extend(pixels / MEGAPIXEL * self._settings.deadline_per_megapixel)


def _check_encoding(headers: dict[bytes, str]) -> None:
    """Raises UnsupportedEncoding (415) for a compressed body."""
    encoding = headers.get(b"content-encoding")
    if encoding is not None and encoding.strip().lower() not in ("", "identity"):
        raise UnsupportedEncoding(encoding)


def _decode_headers(request: Request) -> dict[bytes, str]:
    return {key: value.decode("latin-1") for key, value in request.scope["headers"]}
