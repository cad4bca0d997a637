"""The answer in the form that the caller likes: a picture, JSON or .npy, with model and version in its headers.

Without a preference it comes in the form in which the question came, a picture in its own format (BMP as PNG);
latents come as JSON.
"""

import base64
from typing import Any

import numpy as np
from starlette.responses import Response

from service.api.v1.negotiation import choose
from service.codecs import arrays, images
from service.codecs.formats import JSON, NPY, PDF, PNG, TIFF, WRITABLE_MEDIA_TYPES, detect_image_format
from service.errors import NotAcceptable
from service.imaging import heatmap
from service.imaging.picture import Picture
from service.inference import cost
from service.inference.engine import Result
from service.inference.inputs import Batch, Images
from service.inference.payload import Payload
from service.model.manifest import Operation
from service.model.runtime import Array, Model
from service.server import raw_response

_BYTE_COST = {NPY: cost.COPIED_BYTE, JSON: cost.JSON_BYTE}  # pictures: cost.PIXEL
ERRORS_IN_HEADERS = 100  # samples; more would not pass through proxies, JSON holds any number


def negotiate(
    accept: str | None,
    model: Model,
    operation: Operation,
    payload: Payload,
    inputs: Batch | Images,
    *,
    is_heatmap: bool = False,
) -> str:
    """The answer's media type, chosen before the work is done; NotAcceptable (406) names what can be had.

    `is_heatmap`: a picture in the answer is ours, not the one that came: PNG comes first.
    """
    numbers: tuple[str, ...] = (NPY, JSON) if payload.format == "npy" and operation != "encode" else (JSON, NPY)
    if not inputs.is_uniform:
        numbers = (JSON,)
    if operation == "encode" or model.modality == "vector":
        offers: tuple[str, ...] = numbers
        why = "numbers are no picture"
    elif inputs.count > 1 and payload.format == "image":
        offers = (TIFF, *numbers)
        why = f"the answer has {inputs.count} pages, and of pictures only {TIFF} holds several"
    elif inputs.count > 1:
        offers = numbers
        why = f"{inputs.count} pictures do not fit into one"
    else:
        received = _media_type(payload)
        own = (received,) if received in WRITABLE_MEDIA_TYPES and not is_heatmap else ()
        pictures = tuple(dict.fromkeys((*own, *WRITABLE_MEDIA_TYPES)))
        offers = (*pictures, *numbers) if payload.format == "image" else (*numbers, *pictures)
        why = "it cannot be had in another form"
    chosen = choose(accept, offers)
    if chosen is None:
        raise NotAcceptable(
            f"Accept: {accept} cannot be served ({why}); {operation} answers {', '.join(offers)}", offers=list(offers)
        )
    return chosen


def _media_type(payload: Payload) -> str | None:
    """Of the one image of the payload, None for arrays and JSON."""
    data = payload.parts[0].data
    image_format = detect_image_format(data) if payload.format == "image" and isinstance(data, bytes) else None
    return image_format.media_type if image_format else None


def negotiate_pdf(accept: str | None) -> None:
    """A PDF is answered as one; NotAcceptable (406) else."""
    if choose(accept, (PDF,)) is None:
        raise NotAcceptable(f"Accept: {accept} cannot be served: a PDF is answered as {PDF}", offers=[PDF])


def pdf_response(data: bytes, model: Model) -> Response:
    return raw_response.Answer(data, PDF, _headers(model))


def serialization_cost(result: Result, media_type: str) -> int:
    """Cost of `serialize` (service.inference.cost)."""
    return result.nbytes * _BYTE_COST.get(media_type, cost.PIXEL)


def serialize(result: Result, media_type: str, model: Model, operation: Operation, payload: Payload) -> Response:
    """Encode the result; runs in a thread."""
    headers = _headers(model)
    if result.error is not None and result.percentile is not None and len(result.error) <= ERRORS_IN_HEADERS:
        headers["reconstruction-error"] = ", ".join(f"{e:.6g}" for e in result.error)
        headers["reconstruction-error-percentile"] = ", ".join(f"{p:.4g}" for p in result.percentile)
        if result.is_unusual is not None:
            headers["reconstruction-unusual"] = ", ".join("true" if u else "false" for u in result.is_unusual)
    if media_type == JSON:
        body = arrays.write_json(_document(result, model, operation, pictures=bool(payload.images)))
    elif media_type == NPY:
        body = arrays.write_npy(_stacked(result))
    elif len(result.samples) > 1:
        body = images.encode_pages(_pictures(result))
    else:
        body = images.encode(_pictures(result)[0], media_type)
    return raw_response.Answer(body, media_type, headers)


def _headers(model: Model) -> dict[str, str]:
    return {"model-name": model.manifest.name, "model-version": str(model.manifest.version)}


def _document(result: Result, model: Model, operation: Operation, *, pictures: bool) -> dict[str, Any]:
    document: dict[str, Any] = {
        "model": model.manifest.name,
        "version": model.manifest.version,
        "operation": operation,
    }
    if operation == "encode":
        document["latents"] = result.samples
    elif result.heatmaps is not None:
        document["heatmaps"] = result.heatmaps
    elif pictures:
        document["images"] = [base64.b64encode(images.encode(picture, PNG)).decode() for picture in _pictures(result)]
    else:
        document["outputs"] = _stacked(result)
    if result.error is not None:
        document |= {"reconstruction_error": result.error, "percentile": result.percentile}
    if result.is_unusual is not None:
        document["unusual"] = result.is_unusual
    return document


def _stacked(result: Result) -> Array:
    """[N,...]"""
    if result.heatmaps is not None:
        return result.heatmaps
    return np.stack(result.samples) if isinstance(result.samples, tuple) else result.samples


def _pictures(result: Result) -> tuple[Picture, ...]:
    if result.heatmaps is not None:
        return tuple(map(heatmap.to_colours, result.heatmaps))
    return result.pictures or tuple(Picture(sample) for sample in result.samples)
