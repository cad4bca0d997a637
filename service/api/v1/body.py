"""Request bodies of /v1: receiving with a limit, then parsing by Content-Type.

bytes, Content-Type -> image | PDF | form | JSON | .npy | CSV | Parquet -> Payload

The payload is not decoded: service.inference.inputs decides what its parts mean to the model. Beside the body, the
payload takes no more bytes than the body, and those of the port's dtype, 8 at most, for each number of JSON, which are
counted before (count_numbers).
"""

import base64
import binascii
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from starlette.requests import ClientDisconnect, Request

from service.codecs import arrays, pdf, unread_formats
from service.codecs.formats import (
    CSV,
    IMAGE_FORMAT_OF,
    JSON,
    MULTIPART_FORM,
    NPY,
    NPY_MAGIC,
    OCTET_STREAM,
    PARQUET,
    PARQUET_MAGIC,
    PDF,
    PDF_MAGIC,
    READABLE_MEDIA_TYPES,
    TABLE_MEDIA_TYPES,
    URLENCODED_FORM,
    detect_image_format,
    parse_media_type,
)
from service.codecs.json_documents import json_spans, large_json
from service.codecs.json_documents.json_spans import TextSpan
from service.codecs.json_documents.large_json import Outline
from service.codecs.multipart import FormPart, parse_form
from service.codecs.table_formats import parquet, tables
from service.codecs.table_formats.tables import TableSchema
from service.errors import InvalidInput, LatentMismatch, TooLarge, UnsupportedMediaType
from service.inference import cost
from service.inference.operations import OPERATIONS
from service.inference.payload import Payload, PayloadPart
from service.model.manifest import Operation
from service.model.measures import sparse
from service.model.runtime import Array, Model

_PAIR = ("indices", "values")


async def receive_body(
    request: Request, length: str | None, limit: int, reserve: Callable[[int], None] = lambda _: None
) -> bytes:
    """The complete body. Starlette's own limit is not used: its error is plain text and no problem document.

    Args:
        length: the header Content-Length, if there is one.
        limit: bytes.
        reserve: called with the size of each chunk before it is stored; may raise.
    Raises:
        TooLarge: by Content-Length before the body is read, or as soon as the limit is exceeded (413).
        ClientDisconnect: the client disconnected before the end of the body.
    """
    if length is not None and length.isdecimal() and int(length) > limit:
        raise TooLarge(f"the body is larger than {limit} bytes, which is the limit: it has {length}", limit=limit)
    body: io.BytesIO | None = None
    size = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        reserve(len(chunk))
        size += len(chunk)
        if size > limit:
            raise TooLarge(f"the body is larger than {limit} bytes, which is the limit", limit=limit)
        is_last = not message.get("more_body", False)
        if is_last and size == len(chunk):
            return bytes(chunk)  # the only chunk: no copy
        if body is None:
            body = io.BytesIO()  # grows, and gives its content away, without a copy of it all
        body.write(chunk)
        if is_last:
            return body.getvalue()


def parsing_cost(body: bytes, content_type: str | None) -> int:
    """Cost of `parse_body` (service.inference.cost): images are not copied, .npy may be, JSON and forms are parsed."""
    if body.startswith(NPY_MAGIC):
        return len(body) * cost.COPIED_BYTE
    if body.startswith(PARQUET_MAGIC):
        return cost.INLINE_NS + 1  # a child process reads it
    media_type = parse_media_type(content_type)
    if media_type in IMAGE_FORMAT_OF:
        return 0
    return len(body) * (cost.CSV_BYTE if media_type == CSV else cost.JSON_BYTE)


def outline_json(body: bytes, content_type: str | None) -> Outline | None:
    """The outline of a large JSON body, None for all others; raises TooLarge, InvalidInput (413, 422)."""
    is_large = len(body) > large_json.LARGE_BYTES and parse_media_type(content_type) == JSON
    return Outline(body) if is_large else None


def count_table_numbers(body: bytes, content_type: str | None, model: Model, operation: Operation, rows: int) -> int:
    """Numbers, or cells, of a table of at most `rows` rows, before any is read; 0 for other bodies.

    Raises:
        TooLarge, MalformedBody: as `parse_body`.
    """
    count = model.latent_size if model.input_port(operation).name == "latent" else model.sample_size
    if body.startswith(PARQUET_MAGIC):
        return rows * count
    return tables.estimate_cells(body, count) if parse_media_type(content_type) == CSV else 0


def accepted_types(port: str) -> tuple[str, ...]:
    """Media types of the bodies for an input port image, vector or latent."""
    if port == "image":
        return (*READABLE_MEDIA_TYPES, MULTIPART_FORM, JSON, NPY, OCTET_STREAM)
    return (JSON, NPY, *TABLE_MEDIA_TYPES)


def parse_body(
    body: bytes,
    content_type: str | None,
    model: Model,
    operation: Operation,
    max_batch: int,
    outline: Outline | None = None,
) -> Payload:
    """Parse a body by its Content-Type, or by its first bytes where that is missing or does not say what it is.

    Args:
        outline: of a large JSON body, if it was made already.
    Raises:
        MalformedBody, LatentMismatch, TooLarge, UnsupportedMediaType, InvalidInput: 400, 409, 413, 415, 422.
    """
    port = model.input_port(operation).name
    media_type = parse_media_type(content_type)
    if media_type == OCTET_STREAM and body.startswith(NPY_MAGIC):
        media_type = NPY
    if media_type == OCTET_STREAM and body.startswith(PDF_MAGIC):
        media_type = PDF
    if media_type == OCTET_STREAM and port != "image" and body.startswith(PARQUET_MAGIC):
        media_type = PARQUET
    elif media_type == OCTET_STREAM and port != "image" and _is_text_table(body):
        media_type = CSV
    if media_type == PDF:
        return _pdf_payload(body, model, operation)
    if media_type in (CSV, PARQUET) and port != "image":
        return _table_payload(body, media_type, model, operation, max_batch)
    if media_type == OCTET_STREAM and port == "image" and body:
        image_format = detect_image_format(body)
        sentence = None if image_format else unread_formats.find(body, "the body")
        if sentence is not None:
            raise UnsupportedMediaType(sentence, media_types=_list_accepted(model, operation, port))
        media_type = image_format.media_type if image_format else OCTET_STREAM
    if media_type == JSON:
        return _json_payload(body, outline or outline_json(body, JSON), model, operation, max_batch)
    if media_type == NPY:
        array = arrays.read_npy(body, "the body")
        if port == "latent" and array.ndim == 3:
            array = _spread_pairs(array, model, max_batch)
        return Payload((PayloadPart(array, "the body"),), "npy")
    if not body and media_type in (OCTET_STREAM, *IMAGE_FORMAT_OF):
        raise InvalidInput(f"the body is empty; {'an image is' if port == 'image' else 'numbers are'} expected")
    if port == "image" and media_type in IMAGE_FORMAT_OF:
        return Payload((PayloadPart(body, "image"),), "image")
    if port == "image" and media_type == MULTIPART_FORM:
        return _form_payload(body, content_type or "", model, operation, max_batch)
    raise _unsupported(content_type, port, _list_accepted(model, operation, port))


def _list_accepted(model: Model, operation: Operation, port: str) -> list[str]:
    """The media types of bodies that the operation takes, PDF among them if it does."""
    has_pdf = accepts_pdf(model, operation) and pdf.IS_INSTALLED
    return [*accepted_types(port), *([PDF] if has_pdf else [])]


def accepts_pdf(model: Model, operation: Operation) -> bool:
    """Whether the operation takes images of any size, and so the pages of a PDF."""
    return OPERATIONS[operation].takes_pages(model)


def _pdf_payload(body: bytes, model: Model, operation: Operation) -> Payload:
    media_types = accepted_types(model.input_port(operation).name)
    if not accepts_pdf(model, operation):
        raise UnsupportedMediaType(
            f"a PDF is for models that denoise images of any size, which {model.manifest.name} {operation} does not",
            media_types=list(media_types),
        )
    if not pdf.IS_INSTALLED:
        raise UnsupportedMediaType(
            f"a PDF needs an extra that is not installed here: {pdf.INSTALL_COMMAND}", media_types=list(media_types)
        )
    return Payload((PayloadPart(body, "the PDF"),), "pdf")


def _is_text_table(body: bytes) -> bool:
    """Whether bytes without a media type may be CSV: they begin as text, and not as JSON."""
    start = body[:256].lstrip()
    has_control_bytes = any(byte < 32 and byte not in b"\t\r\n" for byte in start)
    return bool(start) and start[:1] not in b"{[" and not has_control_bytes and b"\n" in body[: 1 << 16]


def table_schema(model: Model, operation: Operation) -> TableSchema:
    """The columns that an operation on vectors, or on latents, takes."""
    port, name = model.input_port(operation), model.manifest.name
    if port.name == "latent":
        return TableSchema(f"{name} {operation}", model.latent_size, tables.latent_names(model.latent_size))
    return TableSchema(name, model.sample_size, model.column_names)


def _table_payload(body: bytes, media_type: str, model: Model, operation: Operation, max_batch: int) -> Payload:
    port = model.input_port(operation)
    if len(port.shape) != 2 or not isinstance(port.shape[1], int):
        raise UnsupportedMediaType(
            f"a table is for rows of numbers; {model.manifest.name} {operation} takes {port.name} [N,...] of more axes",
            media_types=[JSON, NPY],
        )
    schema = table_schema(model, operation)
    if media_type == CSV:
        table = tables.read_csv(body, schema, max_batch)
    elif parquet.IS_INSTALLED:
        table = parquet.read(body, schema, max_batch)
    else:
        raise UnsupportedMediaType(
            f"Parquet needs an extra that is not installed here: {parquet.INSTALL_COMMAND}; CSV needs none",
            media_types=list(accepted_types(port.name)),
        )
    part = PayloadPart(table.numbers, "the table")
    return Payload((part,), "csv" if media_type == CSV else "parquet", table=table)


def form_files(body: bytes, content_type: str, max_parts: int) -> list[FormPart]:
    """The fields of a form: at least one, all with the name 'image'; raises MalformedBody, TooLarge, InvalidInput."""
    fields = parse_form(body, content_type, max_parts)
    for field in fields:
        if field.name != "image":
            raise InvalidInput(f"the form has a field {field.name[:100]!r}; the only one is 'image'")
    if not fields:
        raise InvalidInput("the form is empty; send one or several files in the field 'image'")
    return fields


def file_payload(field: FormPart, label: str) -> Payload:
    """One file of a form: an encoded image or an .npy; raises InvalidInput (422) for text."""
    if field.data.startswith(NPY_MAGIC):
        return Payload((PayloadPart(arrays.read_npy(field.data, label), label),), "npy")
    if field.filename is None and detect_image_format(field.data) is None:
        raise InvalidInput(f"{label} is text, not a file; with curl, write @ before its path: -F image=@FILE")
    return Payload((PayloadPart(field.data, label),), "image")


def parse_file(field: FormPart, label: str, model: Model, operation: Operation) -> Payload:
    """As `file_payload`, or a PDF; raises UnsupportedMediaType (415) where the operation takes none."""
    if field.data.startswith(PDF_MAGIC):
        return _pdf_payload(field.data, model, operation)
    return file_payload(field, label)


def _form_payload(body: bytes, content_type: str, model: Model, operation: Operation, max_batch: int) -> Payload:
    fields = form_files(body, content_type, max_batch)
    if len(fields) == 1:
        return parse_file(fields[0], "image", model, operation)
    parts: list[PayloadPart] = []
    for number, field in enumerate(fields, 1):
        label = f"image {number} of {len(fields)}"
        if field.data.startswith(PDF_MAGIC):
            raise InvalidInput(f"{label} is a PDF; send one in a request")
        parts += file_payload(field, label).parts
    return Payload(tuple(parts), "json")


def _json_payload(body: bytes, outline: Outline | None, model: Model, operation: Operation, max_batch: int) -> Payload:
    is_latents = OPERATIONS[operation].takes_latents
    key = "latents" if is_latents else "inputs"
    port = model.input_port(operation).name
    if outline is None:
        numbers = arrays.read_flat(body, key)
        if numbers is not None:
            return Payload((PayloadPart(_to_port_dtype(numbers, port, key), key),), "json")
        document = arrays.parse_json(body)
    else:
        document = outline.parse()
    members = (key, "model", "version", "operation", "scaled", *_PAIR) if is_latents else (key,)
    if not isinstance(document, dict):
        raise InvalidInput(f'the body is no JSON object; send {{"{key}": ...}}')
    for name in document:
        if name not in members:
            raise InvalidInput(f"the body has a member {name[:100]!r}; allowed are {', '.join(members)}")
    if is_latents:
        _check_origin(document, model)
        if any(name in document for name in _PAIR):
            return Payload((PayloadPart(_read_pairs(document, model, max_batch), key),), "json", _is_scaled(document))
    if key not in document:
        raise InvalidInput(f"the body has no member {key!r}")
    values = document[key]
    if port == "image" and isinstance(values, str | TextSpan):
        return Payload((PayloadPart(_decode_base64(values, key), key),), "json")
    if port == "image" and isinstance(values, list) and values and all(isinstance(v, str | TextSpan) for v in values):
        if len(values) > max_batch:
            raise TooLarge(f"{key} holds {len(values)} images; the limit is {max_batch}", limit=max_batch)
        parts = (
            PayloadPart(_decode_base64(text, f"{key}[{index}]"), f"{key}[{index}]") for index, text in enumerate(values)
        )
        return Payload(tuple(parts), "json")
    dtype = np.dtype(model.input_port(operation).dtype)
    return Payload((PayloadPart(json_spans.read_numbers(values, key, dtype), key),), "json", _is_scaled(document))


def _is_scaled(document: dict[str, Any]) -> bool:
    """Whether latents say that they are scaled."""
    is_scaled = document.get("scaled", False)
    if not isinstance(is_scaled, bool):
        raise InvalidInput("scaled must be true or false, as in the response of encode")
    return is_scaled


def _read_pairs(document: dict[str, Any], model: Model, max_batch: int) -> Array:
    """Latents [N,D] of the members `indices` and `values`, as encode?top= answers them."""
    for name in _PAIR:
        if name not in document or "latents" in document:
            raise InvalidInput("send either latents, or indices and values")
    indices, values = (json_spans.read_numbers(document[name], name, np.dtype(np.float64)) for name in _PAIR)
    return _spread(indices, values, model, max_batch)


def _spread_pairs(array: Array, model: Model, max_batch: int) -> Array:
    """Latents of a pair [N,2,k] (service.model.measures.sparse); the array if the model's latents have another rank."""
    if model.latent is None or len(model.latent.shape) != 2:
        return array
    if array.shape[1] != 2:
        raise InvalidInput(
            f"the body has shape {list(array.shape)}; latents are [N,D], pairs of indices and values [N,2,k]"
        )
    return _spread(array[:, 0], array[:, 1], model, max_batch)


def _spread(indices: Array, values: Array, model: Model, max_batch: int) -> Array:
    if not model.latent_size or model.latent is None or len(model.latent.shape) != 2:
        raise InvalidInput(f"indices and values are of latents [N,D]; {model.manifest.name} has others")
    if indices.ndim == 2 and len(indices) > max_batch:
        raise TooLarge(f"the batch holds {len(indices)} samples; the limit is {max_batch}", limit=max_batch)
    return sparse.spread(indices, values, model.latent_size, "the body")


def _to_port_dtype(numbers: Array, port: str, key: str) -> Array:
    """Numbers of JSON -> uint8 for an image port, unchanged for others."""
    return arrays.to_uint8(numbers, key) if port == "image" else numbers


def _check_origin(document: dict[str, Any], model: Model) -> None:
    """Raises LatentMismatch (409) if latents name another model or version as their origin."""
    name, version = model.manifest.name, model.manifest.version
    origin_name, origin_version = document.get("model", name), document.get("version", version)
    if not isinstance(origin_name, str) or type(origin_version) is not int:
        raise InvalidInput("model must be a name and version a whole number, as in the response of encode")
    if document.get("operation", "encode") != "encode":
        raise InvalidInput("operation must be 'encode', as in the response of encode")
    if (origin_name, origin_version) != (name, version):
        raise LatentMismatch(
            f"the latents are of {origin_name[:100]} version {origin_version}, this is {name} version {version}; "
            "latents of one version mean nothing to another",
            model=name,
            version=version,
        )


def _decode_base64(text: str | TextSpan, label: str) -> bytes:
    """Base64, plain or in a data: URL, with or without line breaks -> the image's bytes."""
    if isinstance(text, TextSpan):
        return text.decode_base64(label)
    encoded = text.partition(",")[2] if text[:5].lower() == "data:" else text
    try:
        return base64.b64decode("".join(encoded.split()), validate=True)
    except (ValueError, binascii.Error) as error:
        raise InvalidInput(f"{label} is text that is not a base64 image") from error


def _unsupported(content_type: str | None, port: str, types: Sequence[str]) -> UnsupportedMediaType:
    media_type = (content_type or "").partition(";")[0].strip().lower()
    if media_type == URLENCODED_FORM:
        hint = "-F image=@FILE or " if port == "image" else ""
        problem = f"{media_type} (curl's default for --data-binary) is not accepted; use {hint}-H 'Content-Type: ...'"
    elif not media_type:
        problem = "the body has no Content-Type, and its first bytes do not identify its format"
    elif parse_media_type(content_type) == OCTET_STREAM:
        problem = f"{media_type[:100]} does not say what the body is, and its first bytes do not either"
    else:
        problem = f"{media_type[:100]} is not accepted"
    return UnsupportedMediaType(f"{problem}; accepted: {', '.join(types)}", media_types=list(types))
