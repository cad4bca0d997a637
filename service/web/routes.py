"""The web page at /: the files of service/web/static/ as they are, with headers that let it load nothing else.

service/web/static/* -> read once -> GET / and GET /page/<file>

No build step: what is in the folder is what a browser gets. It speaks to the same REST routes as everybody else.
"""

import hashlib
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FOLDER = Path(__file__).parent / "static"
INDEX = "index.html"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",  # kept, and asked for again by its ETag: a new release is seen at once
}


def install(app: FastAPI) -> None:
    """Add the page's routes; every file of FOLDER is held in memory (about 0.5 MB)."""
    files = {file.name: file.read_bytes() for file in sorted(FOLDER.iterdir()) if file.suffix in MEDIA_TYPES}
    etags = {name: f'"{hashlib.sha256(data).hexdigest()[:16]}"' for name, data in files.items()}

    async def answer(request: Request) -> Response:
        name = request.path_params.get("file", INDEX)
        if name not in files:
            raise HTTPException(404)
        return fresh(request, files[name], MEDIA_TYPES[Path(name).suffix], etags[name])

    add(app, "/", answer)
    add(app, "/page/{file}", answer)


def add(app: FastAPI, path: str, answer: Callable[[Request], Awaitable[Response]]) -> None:
    """A route for browsers, GET and HEAD, that OpenAPI does not show."""
    app.router.routes.append(Route(path, answer, methods=["GET"], include_in_schema=False))


def fresh(request: Request, data: bytes, media_type: str, etag: str) -> Response:
    """The file, or 304 without a body if the browser has it already."""
    headers = {**HEADERS, "ETag": etag}
    if etag in known(request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=media_type, headers=headers)


def known(if_none_match: str) -> Iterable[str]:
    """The ETags that a browser holds; proxies that compress make them weak."""
    return [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
