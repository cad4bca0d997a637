"""A request's body -> its parts: pictures still encoded, or arrays; and the form in which the question came.

bytes, Content-Type -> picture | form | JSON | .npy -> Payload

What a part means to the model (its shape, its pixels) is decided in service.inference.engine. Nothing here is larger
than the body was.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any

from starlette.requests import ClientDisconnect, Request

from service.codecs import arrays, pdf
from service.codecs.formats import (
    JSON,
    MULTIPART_FORM,
    NPY,
    NPY_MAGIC,
    OCTET_STREAM,
    PDF,
    PDF_MAGIC,
    READABLE_MEDIA_TYPES,
    URLENCODED_FORM,
    detect_image_format,
    parse_media_type,
)
from service.codecs.multipart import FormPart, parse_form
from service.errors import InvalidInput, LatentMismatch, TooLarge, UnsupportedMediaType
from service.inference import cost
from service.inference.payload import Payload, PayloadPart
from service.model.manifest import Operation
from service.model.runtime import Array, Model


async def receive_body(request: Request, length: str | None, limit: int, hold: Callable[[int], None]) -> bytes:
    """The whole body, at most `limit` bytes; TooLarge (413) as soon as it is known, by its length or on the way.

    `length` is the header Content-Length, if there is one. `hold` is told of every byte before it is kept, and may
    raise. ClientDisconnect if the caller leaves before the end.

    Starlette's own limit answers plain text, and every refusal here is a problem document.
    """
    sentence = f"the body is larger than {limit} bytes, which is the limit"
    if length is not None and length.isdecimal() and int(length) > limit:
        raise TooLarge(f"{sentence}: it has {length}", limit=limit)
    body = bytearray()
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        hold(len(chunk))
        if len(body) + len(chunk) > limit:
            raise TooLarge(sentence, limit=limit)
        more = message.get("more_body", False)
        if not body and not more:
            return bytes(chunk)  # it came in one piece: no copy
        body += chunk
        if not more:
            return bytes(body)


def parsing_cost(body: bytes, content_type: str | None) -> int:
    """Cost of `parse_body` (service.inference.cost): images and .npy are not even copied, JSON and forms are parsed."""
    if body.startswith(NPY_MAGIC) or parse_media_type(content_type) in READABLE_MEDIA_TYPES:
        return 0
    return len(body) * cost.JSON_BYTE


def accepted_types(port: str) -> tuple[str, ...]:
    """Media types that an operation on port image, vector or latent takes."""
    return (*READABLE_MEDIA_TYPES, MULTIPART_FORM, JSON, NPY, OCTET_STREAM) if port == "image" else (JSON, NPY)


def parse_body(body: bytes, content_type: str | None, model: Model, operation: Operation, max_batch: int) -> Payload:
    """Take a body apart by its Content-Type; raises the errors below 429 of service.errors."""
    port = model.input_port(operation).name
    media = parse_media_type(content_type)
    if media == OCTET_STREAM and body.startswith(NPY_MAGIC):
        media = NPY
    if media == OCTET_STREAM and body.startswith(PDF_MAGIC):
        media = PDF
    if media == PDF:
        return _pdf(body, model, operation)
    if media == OCTET_STREAM and port == "image" and body:
        image_format = detect_image_format(body)
        media = image_format.media_type if image_format else OCTET_STREAM
    if media == JSON:
        return _json(body, model, operation, max_batch)
    if media == NPY:
        return Payload((PayloadPart(arrays.read_npy(body, "the body"), "the body"),), "npy")
    if port == "image" and media in READABLE_MEDIA_TYPES:
        if not body:
            raise InvalidInput("the body is empty; an image is wanted")
        return Payload((PayloadPart(body, "image"),), "image")
    if port == "image" and media == MULTIPART_FORM:
        return _form(body, content_type or "", model, operation, max_batch)
    taken = (*accepted_types(port), PDF) if takes_pdf(model, operation) and pdf.IS_INSTALLED else accepted_types(port)
    raise _unsupported(media, port, taken)


def takes_pdf(model: Model, operation: Operation) -> bool:
    """Whether a page is a picture that the operation takes."""
    return operation == "denoise" and model.any_size


def _pdf(body: bytes, model: Model, operation: Operation) -> Payload:
    takes = accepted_types(model.input_port(operation).name)
    if not takes_pdf(model, operation):
        raise UnsupportedMediaType(
            f"a PDF is for models that denoise pictures of any size, which {model.manifest.name} {operation} does not",
            accepted=list(takes),
        )
    if not pdf.IS_INSTALLED:
        raise UnsupportedMediaType(
            f"a PDF wants an extra that is not installed here: {pdf.INSTALL_COMMAND}", accepted=list(takes)
        )
    return Payload((PayloadPart(body, "the PDF"),), "pdf")


def form_files(body: bytes, content_type: str, max_parts: int) -> list[FormPart]:
    """The fields of a form, all of them 'image', at least one; MalformedBody, TooLarge, InvalidInput."""
    fields = parse_form(body, content_type, max_parts)
    for field in fields:
        if field.name != "image":
            raise InvalidInput(f"the form has a field {field.name[:100]!r}; the only one is 'image'")
    if not fields:
        raise InvalidInput("the form is empty; send one or several files in the field 'image'")
    return fields


def file_payload(field: FormPart, which: str) -> Payload:
    """One file of a form: a picture or an .npy; InvalidInput (422) for what is neither."""
    if field.data.startswith(NPY_MAGIC):
        return Payload((PayloadPart(arrays.read_npy(field.data, which), which),), "npy")
    if field.filename is None and detect_image_format(field.data) is None:
        raise InvalidInput(f"{which} is text, not a file; with curl, write @ before its path: -F image=@FILE")
    return Payload((PayloadPart(field.data, which),), "image")


def _form(body: bytes, content_type: str, model: Model, operation: Operation, max_batch: int) -> Payload:
    fields = form_files(body, content_type, max_batch)
    if len(fields) == 1:
        (field,) = fields
        return _pdf(field.data, model, operation) if field.data.startswith(PDF_MAGIC) else file_payload(field, "image")
    parts: list[PayloadPart] = []
    for number, field in enumerate(fields, 1):
        which = f"image {number} of {len(fields)}"
        if field.data.startswith(PDF_MAGIC):
            raise InvalidInput(f"{which} is a PDF; send one in a request")
        parts += file_payload(field, which).parts
    return Payload(tuple(parts), "json")


def _json(body: bytes, model: Model, operation: Operation, max_batch: int) -> Payload:
    key = "latents" if operation == "decode" else "inputs"
    port = model.input_port(operation).name
    numbers = arrays.read_flat(body, key)
    if numbers is not None:
        return Payload((PayloadPart(_for_port(numbers, port, key), key),), "json")
    document = arrays.parse_json(body)
    allowed = (key, "model", "version", "operation") if operation == "decode" else (key,)
    if not isinstance(document, dict):
        raise InvalidInput(f'the body is no JSON object; send {{"{key}": ...}}')
    for name in document:
        if name not in allowed:
            raise InvalidInput(f"the body has a member {name[:100]!r}; allowed are {', '.join(allowed)}")
    if key not in document:
        raise InvalidInput(f"the body has no member {key!r}")
    if operation == "decode":
        _check_origin(document, model)
    values = document[key]
    if port == "image" and isinstance(values, str):
        return Payload((PayloadPart(_picture(values, key), key),), "json")
    if port == "image" and isinstance(values, list) and values and all(isinstance(v, str) for v in values):
        if len(values) > max_batch:
            raise TooLarge(f"{key} holds {len(values)} images; the limit is {max_batch}", limit=max_batch)
        parts = (PayloadPart(_picture(text, f"{key}[{i}]"), f"{key}[{i}]") for i, text in enumerate(values))
        return Payload(tuple(parts), "json")
    return Payload((PayloadPart(_for_port(arrays.read_numbers(values, key), port, key), key),), "json")


def _for_port(numbers: Array, port: str, key: str) -> Array:
    """JSON's numbers -> pixels where the port takes them, else as they are."""
    return arrays.to_uint8(numbers, key) if port == "image" else numbers


def _check_origin(document: dict[str, Any], model: Model) -> None:
    """Latents that say where they come from are of this very model and version, or refused."""
    name, version = model.manifest.name, model.manifest.version
    sent_name, sent_version = document.get("model", name), document.get("version", version)
    if not isinstance(sent_name, str) or type(sent_version) is not int:
        raise InvalidInput("model must be a name and version a whole number, as encode answered them")
    if document.get("operation", "encode") != "encode":
        raise InvalidInput("operation must be 'encode', as encode answered it")
    if (sent_name, sent_version) != (name, version):
        raise LatentMismatch(
            f"the latents are of {sent_name[:100]} version {sent_version}, this is {name} version {version}; "
            "latents of one version mean nothing to another",
            model=name,
            version=version,
        )


def _picture(text: str, which: str) -> bytes:
    """Base64, plain or in a data: URL, with or without line breaks -> the picture's bytes."""
    payload = text.partition(",")[2] if text[:5].lower() == "data:" else text
    try:
        return base64.b64decode("".join(payload.split()), validate=True)
    except (ValueError, binascii.Error) as broken:
        raise InvalidInput(f"{which} is text that is not a base64 image") from broken


def _unsupported(media: str, port: str, types: Sequence[str]) -> UnsupportedMediaType:
    if media == URLENCODED_FORM:
        hint = "-F image=@FILE or " if port == "image" else ""
        what = f"{media} (curl's default for --data-binary) is not taken; use {hint}-H 'Content-Type: ...'"
    elif media == OCTET_STREAM:
        what = "the body has no Content-Type, and its first bytes do not tell what it is"
    else:
        what = f"{media[:100]} is not taken"
    return UnsupportedMediaType(f"{what}; accepted: {', '.join(types)}", accepted=list(types))
