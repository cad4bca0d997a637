"""The answer in the form that the caller likes: PNG, JPEG, WebP, JSON or .npy, with model and version in its headers.

Without a preference it comes in the form in which the question came; latents come as JSON.
"""

import base64
from typing import Any

from starlette.responses import Response

from service import codec, images
from service.errors import NotAcceptable
from service.inference import Result
from service.manifest import Operation
from service.model import Array, Model
from service.negotiation import choose
from service.requests import JSON, NPY, Sent

PICTURES = tuple(images.ENCODED)
ERRORS_IN_HEADERS = 100  # samples; more would not pass through proxies, JSON holds any number


def negotiate(accept: str | None, model: Model, operation: Operation, sent: Sent, count: int) -> str:
    """The answer's media type, chosen before the work is done; NotAcceptable (406) names what can be had."""
    numbers = (NPY, JSON) if sent.form == "npy" and operation != "encode" else (JSON, NPY)
    if operation == "encode" or model.modality == "vector":
        offers: tuple[str, ...] = numbers
        why = "numbers are no picture"
    elif count > 1:
        offers = numbers
        why = f"{count} pictures do not fit into one"
    else:
        offers = (*PICTURES, *numbers) if sent.form == "image" else (*numbers, *PICTURES)
        why = "it cannot be had in another form"
    chosen = choose(accept, offers)
    if chosen is None:
        raise NotAcceptable(
            f"Accept: {accept} cannot be served ({why}); {operation} answers {', '.join(offers)}", offers=list(offers)
        )
    return chosen


def render(result: Result, media_type: str, model: Model, operation: Operation, sent: Sent) -> Response:
    """Encode the result; runs in a thread."""
    headers = {"Model-Name": model.manifest.name, "Model-Version": str(model.manifest.version)}
    if result.error is not None and result.percentile is not None and len(result.error) <= ERRORS_IN_HEADERS:
        headers["Reconstruction-Error"] = ", ".join(f"{e:.6g}" for e in result.error)
        headers["Reconstruction-Error-Percentile"] = ", ".join(f"{p:.4g}" for p in result.percentile)
    if media_type == JSON:
        body = codec.write_json(_document(result, model, operation, pictures=bool(sent.pictures)))
    elif media_type == NPY:
        body = codec.write_npy(result.output)
    else:
        body = images.encode(result.output[0], media_type)
    return Response(body, media_type=media_type, headers=headers)


def _document(result: Result, model: Model, operation: Operation, *, pictures: bool) -> dict[str, Any]:
    document: dict[str, Any] = {
        "model": model.manifest.name,
        "version": model.manifest.version,
        "operation": operation,
    }
    if operation == "encode":
        document["latents"] = result.output
    elif pictures:
        document["images"] = _base64(result.output)
    else:
        document["outputs"] = result.output
    if result.error is not None:
        document |= {"reconstruction_error": result.error, "percentile": result.percentile}
    return document


def _base64(pixels: Array) -> list[str]:
    return [base64.b64encode(images.encode(image, "image/png")).decode() for image in pixels]
