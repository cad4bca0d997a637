"""The pictures of a model's card, over HTTP: the plain PNG files of its package, and nothing else of it.

GET /v1/models/<name>/versions/<version>/files         -> {"files": ["before-after.png", ...]}
GET /v1/models/<name>/versions/<version>/files/<file>  -> PNG

A name is served only if it is in the list, so no name leads anywhere else.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi import Path as InAddress
from starlette.exceptions import HTTPException

from service.api.schemas import CardFiles, Problem
from service.web.routes import fresh

PNG = b"\x89PNG\r\n\x1a\n"
MAX_BYTES = 16 * 2**20  # of one picture; larger ones are not listed
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}\.png")

_unknown: dict[int | str, dict[str, Any]] = {404: {"description": "no such model, version or file", "model": Problem}}
_png: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}, "description": "the picture"}}


def install(app: FastAPI, models: Path) -> None:
    """Add the routes; names and versions are those of app.state.registry, `models` is where packages lie."""

    def folder(name: str, version: str) -> Path:
        manifest = app.state.registry.get(name, version).manifest
        return models / str(manifest.name) / str(manifest.version)

    @app.get(
        "/v1/models/{name}/versions/{version}/files", tags=["models"], summary="The card's pictures", responses=_unknown
    )
    def files(name: str, version: str) -> CardFiles:
        return CardFiles(files=list(pictures(folder(name, version))))

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
        directory = folder(name, version)
        data = read(directory, file) if file in pictures(directory) else None
        if data is None:
            raise HTTPException(404)
        return fresh(request, data, "image/png", f'"{hashlib.sha256(data).hexdigest()[:16]}"')


def pictures(directory: Path) -> tuple[str, ...]:
    """Names of the plain PNG files in a package's folder, sorted; links and large files are left out."""
    try:
        with os.scandir(directory) as entries:
            return tuple(
                sorted(
                    entry.name
                    for entry in entries
                    if _NAME.fullmatch(entry.name)
                    and entry.is_file(follow_symlinks=False)
                    and entry.stat(follow_symlinks=False).st_size <= MAX_BYTES
                )
            )
    except OSError:  # the package was taken away while its model is still open
        return ()


def read(directory: Path, name: str) -> bytes | None:
    """The bytes of a listed picture; None if it is no PNG, or has become a link or gone meanwhile."""
    try:
        descriptor = os.open(directory / name, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(descriptor, "rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError:
        return None
    return data if data.startswith(PNG) and len(data) <= MAX_BYTES else None
