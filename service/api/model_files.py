"""Routes of the model cards' images: the PNG and WebP files of a package, and none of its other files.

GET /v1/models/<name>/versions/<version>/files         -> {"files": ["before-after.webp", ...], "labels": {...}}
GET /v1/models/<name>/versions/<version>/files/<file>  -> PNG or WebP

Only names in the list are served, so a name cannot lead to another file.
"""

import hashlib
import re
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi import Path as PathParameter
from starlette.exceptions import HTTPException

from service.api.openapi import BINARY
from service.api.schemas import CardFiles, Problem
from service.api.v1.negotiation import is_octet_stream
from service.codecs.formats import OCTET_STREAM
from service.repository.registry import Registry
from service.repository.store import ModelStore
from service.web.routes import file_response

MEDIA_TYPES = {".png": "image/png", ".webp": "image/webp"}
MAX_BYTES = 16 * 2**20  # of one image; larger ones are not listed
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}\.(?:png|webp)")

_not_found: dict[int | str, dict[str, Any]] = {404: {"description": "no such model, version or file", "model": Problem}}
_picture_content: dict[int | str, dict[str, Any]] = {
    200: {
        "content": dict.fromkeys((*MEDIA_TYPES.values(), OCTET_STREAM), BINARY),
        "description": "the picture",
    }
}


def add_file_routes(app: FastAPI, registry: Registry, store: ModelStore) -> None:
    """Add the routes; names and versions are those of `registry`, the packages lie in `store`."""

    def package_key(name: str, version: str) -> str:
        return registry.get(name, version).manifest.key

    @app.get(
        "/v1/models/{name}/versions/{version}/files",
        tags=["models"],
        summary="The card's pictures",
        responses=_not_found,
    )
    def list_card_pictures(name: str, version: str) -> CardFiles:
        manifest = registry.get(name, version).manifest
        files = list_pictures(store, manifest.key)
        labels = {file: list(words) for file, words in (manifest.labels or {}).items() if file in files}
        return CardFiles(files=list(files), labels=labels)

    @app.get(
        "/v1/models/{name}/versions/{version}/files/{file}",
        tags=["models"],
        summary="One of the card's pictures",
        response_class=Response,
        responses={**_picture_content, **_not_found},
    )
    def get_card_picture(
        request: Request, name: str, version: str, file: Annotated[str, PathParameter(description="one of /files")]
    ) -> Response:
        key = package_key(name, version)
        data = read_picture(store, key, file) if file in list_pictures(store, key) else None
        if data is None:
            raise HTTPException(404)
        media_type = OCTET_STREAM if is_octet_stream(request.headers.get("accept")) else media_type_of(file)
        return file_response(request, data, media_type, f'"{hashlib.sha256(data).hexdigest()[:16]}"')


def list_pictures(store: ModelStore, key: str) -> tuple[str, ...]:
    """Names of a package's PNG and WebP files, sorted; without links and without files over MAX_BYTES."""
    files = store.list_files(key)
    return tuple(sorted(name for name, size in files.items() if _NAME.fullmatch(name) and size <= MAX_BYTES))


def read_picture(store: ModelStore, key: str, name: str) -> bytes | None:
    """The bytes of a listed picture; None if it is not what its name says, or was removed or is a link now."""
    try:
        content = store.read_file(key, name, MAX_BYTES)
    except OSError:
        return None
    return content if is_picture(content, media_type_of(name)) else None


def media_type_of(name: str) -> str:
    """Of a listed picture."""
    return MEDIA_TYPES[name[name.rindex(".") :]]


def is_picture(content: bytes, media_type: str) -> bool:
    """Whether the file begins as one of the format, PNG or WebP, does."""
    if media_type == "image/webp":
        return content[:4] == b"RIFF" and content[8:12] == b"WEBP"
    return content.startswith(b"\x89PNG\r\n\x1a\n")
