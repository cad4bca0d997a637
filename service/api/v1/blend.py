"""Route of blends: POST /v1/blend, the result of another strength from files that were computed before.

form: original, denoised [, denoised_twice] -> decoded -> blend_pictures -> a file in the format of `denoised`

No model runs. A client that has the results of strength 1 (and 2) gets every other strength in the time that the file
takes to be read and written.
"""

from functools import partial

from fastapi import FastAPI, Request, Response

from service.api import openapi
from service.api.query import PARAMETERS, parse_deadline, parse_query
from service.api.services import Services
from service.api.v1.body import receive_body
from service.codecs import images
from service.codecs.formats import MULTIPART_FORM, WRITABLE_MEDIA_TYPES
from service.codecs.images import Header
from service.codecs.multipart import parse_form
from service.errors import InvalidInput
from service.imaging.picture import Picture
from service.inference import cost
from service.inference.admission import Permit
from service.inference.blending import blend_pictures
from service.server import raw_response
from service.server.cancellation import Deadline, cancel_on_disconnect
from service.settings import MEGAPIXEL

FIELDS = ("original", "denoised", "denoised_twice")
_Files = dict[str, bytes]


def add_blend_route(app: FastAPI, services: Services) -> None:
    settings = services.settings
    form = {
        "type": "object",
        "required": ["original", "denoised"],
        "properties": {name: {"type": "string", "format": "binary"} for name in FIELDS},
    }

    @app.post(
        "/v1/blend",
        tags=["operations"],
        summary="The result of another strength, from results that were computed before; no model runs",
        response_class=Response,
        responses=openapi.blend_responses(),
        openapi_extra={
            "parameters": [
                {
                    "name": "strength",
                    "in": "query",
                    "schema": PARAMETERS["strength"].schema,
                    "description": "as of denoise; above 1 `denoised_twice` is needed, the result of strength 2",
                }
            ],
            "requestBody": {"required": True, "content": {MULTIPART_FORM: {"schema": form}}},
        },
    )
    async def blend(request: Request) -> Response:
        options = parse_query(request.scope["query_string"], "denoise")
        for name, value in vars(options).items():
            if name != "strength" and value is not None:
                raise InvalidInput(f"there is no parameter {name!r} here; the only one is strength")
        seconds = parse_deadline(request.headers.get("request-deadline"), settings.max_deadline)
        with services.admission.enter() as permit:
            body = await receive_body(
                request, request.headers.get("content-length"), settings.max_body_bytes, permit.reserve_bytes
            )
            permit.occupy()
            with Deadline(seconds or settings.deadline) as deadline:
                content_type = request.headers.get("content-type", "")
                parse = partial(_parse_files, content_type=content_type)
                files = await services.scheduler.call(parse, body, len(body) * cost.JSON_BYTE)
                del body
                headers = await _inspect(services, files, permit)
                if seconds is None:
                    deadline.extend(permit.pixels / MEGAPIXEL * settings.deadline_per_megapixel)
                return await cancel_on_disconnect(request, _blend(services, files, headers, options.strength))


def _parse_files(body: bytes, content_type: str) -> _Files:
    """The files of the form by their fields; raises MalformedBody, TooLarge, InvalidInput."""
    if not content_type.lower().startswith(MULTIPART_FORM):
        raise InvalidInput("send a form with the files in its fields 'original' and 'denoised'")
    files: _Files = {}
    for part in parse_form(body, content_type, len(FIELDS)):
        if part.name not in FIELDS or part.name in files:
            raise InvalidInput(f"the form has a field {part.name[:100]!r}; allowed are {', '.join(FIELDS)}, each once")
        files[part.name] = part.data
    for name in FIELDS[:2]:
        if name not in files:
            raise InvalidInput(f"the form has no field {name!r}")
    return files


async def _inspect(services: Services, files: _Files, permit: Permit) -> dict[str, Header]:
    """The headers; their pixels are reserved."""
    settings = services.settings

    def inspect(item: tuple[str, bytes]) -> Header:
        name, data = item
        return images.inspect(data, settings.max_pixels, name, settings.max_batch, settings.max_side)

    headers = await services.scheduler.run(inspect, list(files.items()))
    for header in headers:
        permit.reserve_pixels(header.pixels)
    return dict(zip(files, headers, strict=True))


async def _blend(services: Services, files: _Files, headers: dict[str, Header], strength: float) -> Response:
    def decode(name: str) -> list[Picture]:
        return images.decode(files[name], headers[name], name)

    pages = dict(zip(files, await services.scheduler.run(decode, list(files)), strict=True))

    def serialize(strength: float) -> Response:
        blended = blend_pictures(pages["original"], pages["denoised"], pages.get("denoised_twice"), strength)
        media_type = headers["denoised"].media_type
        if len(blended) > 1:
            body, dropped = images.encode_pages_and_report(blended)
        else:
            body, dropped = images.encode_and_report(blended[0], media_type)
        answer = {"cache-control": "no-store"} | ({"dropped-metadata": ", ".join(dropped)} if dropped else {})
        return raw_response.RawResponse(body, media_type, answer)

    for name, header in headers.items():
        if name != "original" and header.media_type not in WRITABLE_MEDIA_TYPES:
            raise InvalidInput(f"{name} is {header.media_type}, which denoise never answers; send its answer")
    return await services.scheduler.call(serialize, strength)
