"""The pictures of a model's card, over HTTP: the plain PNG files of its package, and nothing else of it.

GET /v1/models/<name>/versions/<version>/files         -> {"files": ["before-after.png", ...]}
GET /v1/models/<name>/versions/<version>/files/<file>  -> PNG

A name is served only if it is in the list, so no name leads anywhere else.
"""

import hashlib
import re
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi import Path as InAddress
from starlette.exceptions import HTTPException

from service.api.schemas import CardFiles, Problem
from service.repository.store import ModelStore
from service.web.routes import fresh

PNG = b"\x89PNG\r\n\x1a\n"
MAX_BYTES = 16 * 2**20  # of one picture; larger ones are not listed
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}\.png")

_unknown: dict[int | str, dict[str, Any]] = {404: {"description": "no such model, version or file", "model": Problem}}
_png: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}, "description": "the picture"}}


def install(app: FastAPI, store: ModelStore) -> None:
    """Add the routes; names and versions are those of app.state.registry, the packages lie in `store`."""

    def package_key(name: str, version: str) -> str:
        manifest = app.state.registry.get(name, version).manifest
        return f"{manifest.name}/{manifest.version}"

    @app.get(
        "/v1/models/{name}/versions/{version}/files", tags=["models"], summary="The card's pictures", responses=_unknown
    )
    def files(name: str, version: str) -> CardFiles:
        return CardFiles(files=list(list_pictures(store, package_key(name, version))))

    @app.get(
        "/v1/models/{name}/versions/{version}/files/{file}",
        tags=["models"],
        summary="One of the card's pictures",
        response_class=Response,
        responses={**_png, **_unknown},
    )
    def file(
        request: Request, name: str, version: str, file: Annotated[str, InAddress(description="one of /files")]
    ) -> Response:
        key = package_key(name, version)
        data = read_picture(store, key, file) if file in list_pictures(store, key) else None
        if data is None:
            raise HTTPException(404)
        return fresh(request, data, "image/png", f'"{hashlib.sha256(data).hexdigest()[:16]}"')


def list_pictures(store: ModelStore, key: str) -> tuple[str, ...]:
    """Names of the plain PNG files of a package, sorted; links and large files are left out."""
    files = store.list_files(key)
    return tuple(sorted(name for name, size in files.items() if _NAME.fullmatch(name) and size <= MAX_BYTES))


def read_picture(store: ModelStore, key: str, name: str) -> bytes | None:
    """The bytes of a listed picture; None if it is no PNG, or was removed or replaced by a link meanwhile."""
    try:
        content = store.read_file(key, name, MAX_BYTES)
    except OSError:
        return None
    return content if content.startswith(PNG) else None
