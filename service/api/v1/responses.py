"""Responses of /v1: content negotiation, then serialization as an image, JSON, .npy, CSV or Parquet.

Accept, Payload -> negotiate -> media type        Result, media type -> serialize -> response

Without Accept the response has the request's format, an image its own (BMP, GIF and HEIC become PNG); latents are sent
as JSON. Headers name the model and its version, and what the request's file held and the response does not.
"""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from starlette.responses import Response

from service.api.v1 import table_responses
from service.api.v1.negotiation import choose
from service.codecs import arrays, images
from service.codecs.formats import (
    BMP,
    CSV,
    GIF,
    IMAGE_FORMATS,
    JSON,
    NPY,
    PARQUET,
    PDF,
    PNG,
    TABLE_MEDIA_TYPES,
    TIFF,
    WRITABLE_MEDIA_TYPES,
    detect_image_format,
)
from service.codecs.json_documents import json_writer
from service.errors import NotAcceptable
from service.imaging import heatmap
from service.imaging.picture import Picture
from service.imaging.value_range import largest_white
from service.inference import cost
from service.inference.engine import Result
from service.inference.inputs import Batch, Images
from service.inference.operations import OPERATIONS
from service.inference.payload import Payload, PayloadFormat
from service.model.manifest import Operation
from service.model.measures import sparse
from service.model.runtime import Array, Model
from service.server import raw_response

_BYTE_COST = {NPY: cost.COPIED_BYTE, JSON: cost.JSON_BYTE, CSV: cost.CSV_BYTE}  # images: cost.PIXEL
_TABLE_OF_FORMAT = {"csv": CSV, "parquet": PARQUET}
_LOSSLESS_MEDIA_TYPES = (PNG, TIFF, BMP, GIF)
MAX_HEADER_ERRORS = 100  # samples; proxies limit the size of headers, JSON has all errors


def negotiate(
    accept: str | None,
    model: Model,
    operation: Operation,
    payload: Payload,
    inputs: Batch | Images,
    *,
    is_heatmap: bool = False,
) -> str:
    """The response's media type, chosen before inference.

    Args:
        is_heatmap: an image in the response is a heatmap: PNG is preferred to the request's format.
    Raises:
        NotAcceptable: Accept covers none of the available media types (406).
    """
    returns_latents = OPERATIONS[operation].returns_latents
    numbers: tuple[str, ...] = (NPY, JSON) if payload.format == "npy" and not returns_latents else (JSON, NPY)
    if not inputs.is_uniform:
        numbers = (JSON,)
    elif table_responses.is_table(model, operation):
        numbers = _offer_tables(payload.format, numbers)
    faithful: tuple[str, ...] = ()
    if returns_latents or model.modality == "vector":
        offers: tuple[str, ...] = numbers
        reason = "the result is numbers, not an image"
    elif inputs.count > 1 and payload.format == "image":
        offers = (TIFF, *numbers)
        reason = f"the result has {inputs.count} pages; of the image formats only {TIFF} holds several"
    elif inputs.count > 1:
        offers = numbers
        reason = f"{inputs.count} images do not fit into one file"
    else:
        request_type = _image_media_type(payload)
        preferred = (request_type,) if request_type in WRITABLE_MEDIA_TYPES and not is_heatmap else ()
        if request_type is not None and not is_heatmap:
            faithful = _list_faithful(request_type, inputs)
        image_types = tuple(dict.fromkeys((*preferred, *WRITABLE_MEDIA_TYPES)))
        offers = (*image_types, *numbers) if payload.format == "image" else (*numbers, *image_types)
        reason = "a picture is not answered as a PDF" if PDF in (accept or "") else "it names no type that there is"
    media_type = choose(accept, offers, faithful)
    if media_type is None:
        raise NotAcceptable(
            f"Accept: {accept} cannot be served ({reason}); {operation} answers {', '.join(offers)}",
            offers=list(offers),
        )
    return media_type


@lru_cache(16)
def _offer_tables(payload_format: PayloadFormat, numbers: tuple[str, ...]) -> tuple[str, ...]:
    """The media types of numbers and of tables: that of a request in a table first, else tables last."""
    own = tuple(media_type for media_type in TABLE_MEDIA_TYPES if media_type == _TABLE_OF_FORMAT.get(payload_format))
    return (*own, *numbers, *(media_type for media_type in TABLE_MEDIA_TYPES if media_type not in own))


def _list_faithful(request_type: str, inputs: Batch | Images) -> tuple[str, ...]:
    """The media types that hold the result of one image as it is: its depth, its alpha, and without loss if it came so.

    A result in WebP or AVIF is lossless if the request was.
    """
    is_lossless, lossless_type = request_type in _LOSSLESS_MEDIA_TYPES, None
    bits, has_alpha = 8, False
    if isinstance(inputs, Images):
        (picture,) = inputs.pictures
        lossless_type = picture.metadata.lossless_media_type
        has_alpha = picture.pixels.shape[2] in (2, 4)
        if picture.pixels.dtype not in (np.uint8, np.uint16):
            return (TIFF,)
        if picture.pixels.dtype == np.uint16:
            bits = picture.metadata.bits or 16
    return tuple(
        image_format.media_type
        for image_format in IMAGE_FORMATS
        if image_format.saver
        and image_format.bits >= bits
        and image_format.has_alpha >= has_alpha
        and (not (is_lossless or lossless_type) or image_format.is_lossless or image_format.media_type == lossless_type)
    )


def _image_media_type(payload: Payload) -> str | None:
    """The media type of a payload that is one encoded image, None for all others."""
    data = payload.parts[0].data
    image_format = detect_image_format(data) if payload.format == "image" and isinstance(data, bytes) else None
    return image_format.media_type if image_format else None


def negotiate_pdf(accept: str | None) -> None:
    """Raises NotAcceptable (406) if Accept does not cover application/pdf, the only response to a PDF."""
    if choose(accept, (PDF,)) is None:
        raise NotAcceptable(f"Accept: {accept} cannot be served: a PDF is answered as {PDF}", offers=[PDF])


def pdf_response(data: bytes, model: Model) -> Response:
    return raw_response.RawResponse(data, PDF, model_headers(model))


def serialization_cost(result: Result, media_type: str) -> int:
    """Cost of `serialize` (service.inference.cost)."""
    if media_type == PARQUET:
        return cost.INLINE_NS + 1  # pyarrow may have to be imported
    return result.nbytes * _BYTE_COST.get(media_type, cost.PIXEL)


def choose_largest(result: Result, model: Model, top: int) -> Result:
    """The result of encode with the largest numbers of each latent."""
    return replace(result, largest=sparse.find_largest(np.asarray(result.samples), top, model.features))


def serialize(
    result: Result, media_type: str, model: Model, operation: Operation, payload: Payload, *, is_scaled: bool = False
) -> Response:
    """The response with status 200, encoded; may take long (serialization_cost).

    Args:
        is_scaled: latents are scaled, which JSON says, so that decode knows.
    """
    headers = model_headers(model)
    if result.error is not None and result.percentile is not None and len(result.error) <= MAX_HEADER_ERRORS:
        headers["reconstruction-error"] = ", ".join(f"{error:.6g}" for error in result.error)
        headers["reconstruction-error-percentile"] = ", ".join(f"{percentile:.4g}" for percentile in result.percentile)
        if result.explained_variance is not None:
            headers["explained-variance"] = ", ".join(f"{share:.6g}" for share in result.explained_variance)
        if (verdict := result.verdict) is not None:
            headers["reconstruction-unusual"] = ", ".join("true" if value else "false" for value in verdict.is_unusual)
            headers["reconstruction-score"] = verdict.score
            headers["reconstruction-score-percentile"] = ", ".join(f"{value:.4g}" for value in verdict.percentile)
    dropped: tuple[str, ...] = ()
    if media_type == JSON:
        has_images = bool(payload.images)
        document, dropped = _document(result, model, operation, has_images=has_images, is_scaled=is_scaled)
        if payload.table is not None:
            document |= table_responses.describe(payload.table)
        if "images" in document:
            body = json_writer.write(document)
        else:
            body = json_writer.write_by_size(document, result.nbytes)
    elif media_type == NPY:
        body = arrays.write_npy(to_array(result))
    elif media_type in (CSV, PARQUET):
        body = table_responses.write(result, media_type, model, operation, payload)
    elif len(result.samples) > 1:
        body, dropped = images.encode_pages_and_report(_pictures(result))
    else:
        body, dropped = images.encode_and_report(_pictures(result)[0], media_type)
    if result.pictures:
        whites = dict.fromkeys(f"{picture.white:g}" for picture in result.pictures if _has_unusual_white(picture))
        if whites:
            headers["pixel-white"] = ", ".join(whites)
    if dropped:
        headers["dropped-metadata"] = ", ".join(dropped)
    return raw_response.RawResponse(body, media_type, headers)


def _has_unusual_white(picture: Picture) -> bool:
    return picture.white is not None and picture.white != largest_white(picture.pixels.dtype)


def model_headers(model: Model) -> dict[str, str]:
    """Headers that name the model and its version."""
    return {"model-name": model.manifest.name, "model-version": str(model.manifest.version)}


def describe_latents(result: Result, *, is_scaled: bool) -> dict[str, Any]:
    """The members of JSON for latents: all numbers, or the largest with their indices; and whether they are scaled."""
    scaled = {"scaled": True} if is_scaled else {}
    if result.largest is not None:
        indices, values = result.largest
        return {"indices": indices, "values": values, **scaled}
    return {"latents": result.samples, **scaled}


def _document(
    result: Result, model: Model, operation: Operation, *, has_images: bool, is_scaled: bool
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The members of a JSON response, and names of the metadata that its images do not have."""
    dropped: list[str] = []
    document: dict[str, Any] = {
        "model": model.manifest.name,
        "version": model.manifest.version,
        "operation": operation,
    }
    if OPERATIONS[operation].returns_latents:
        document |= describe_latents(result, is_scaled=is_scaled)
    elif result.heatmaps is not None:
        document["heatmaps"] = result.heatmaps
    elif has_images:
        document["images"] = []
        for picture in _pictures(result):
            data, names = images.encode_and_report(picture, PNG)
            document["images"].append(json_writer.Base64(data))
            dropped += names
    else:
        document["outputs"] = to_array(result)
    if result.error is not None:
        document |= {"reconstruction_error": result.error, "percentile": result.percentile}
    if result.explained_variance is not None:
        document["explained_variance"] = result.explained_variance
    if (verdict := result.verdict) is not None:
        document |= {"unusual": verdict.is_unusual, "score": verdict.score, "score_percentile": verdict.percentile}
    return document, tuple(dict.fromkeys(dropped))


def to_array(result: Result) -> Array:
    """[N,...], N samples, heatmaps, or pairs of indices and values."""
    if result.largest is not None:
        return sparse.join(*result.largest)
    if result.heatmaps is not None:
        return result.heatmaps
    return np.stack(result.samples) if isinstance(result.samples, tuple) else result.samples


def _pictures(result: Result) -> tuple[Picture, ...]:
    if result.heatmaps is not None:
        return tuple(map(heatmap.to_colours, result.heatmaps))
    return result.pictures or tuple(Picture(sample) for sample in result.samples)
