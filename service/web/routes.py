"""Routes of the web page: static files, with a policy that lets the page load nothing from other servers.

service/web/static/* -> read once -> GET / and GET /page/<file>

There is no build step: browsers get the files as they are in the folder. The page uses the public REST routes.
"""

import hashlib
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

STATIC_FILES = Path(__file__).parent / "static"
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
    "Cache-Control": "no-cache",  # cached, but validated by its ETag each time: a new release is visible at once
}


def add_page_routes(app: FastAPI) -> None:
    """GET / and /page/<file>; all files are held in memory (about 0.5 MB)."""
    files = {file.name: file.read_bytes() for file in sorted(STATIC_FILES.iterdir()) if file.suffix in MEDIA_TYPES}
    etags = {name: f'"{hashlib.sha256(data).hexdigest()[:16]}"' for name, data in files.items()}

    async def serve_file(request: Request) -> Response:
        name = request.path_params.get("file", INDEX)
        if name not in files:
            raise HTTPException(404)
        return file_response(request, files[name], MEDIA_TYPES[Path(name).suffix], etags[name])

    add_browser_route(app, "/", serve_file)
    add_browser_route(app, "/page/{file}", serve_file)


def add_browser_route(app: FastAPI, path: str, handle: Callable[[Request], Awaitable[Response]]) -> None:
    """A route for GET and HEAD that is not in the OpenAPI document."""
    app.router.routes.append(Route(path, handle, methods=["GET"], include_in_schema=False))


def file_response(request: Request, data: bytes, media_type: str, etag: str) -> Response:
    """The file, or status 304 without a body if the request's If-None-Match has its ETag."""
    headers = {**HEADERS, "ETag": etag}
    if etag in parse_etags(request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=media_type, headers=headers)


def parse_etags(if_none_match: str) -> Iterable[str]:
    """The ETags of a header If-None-Match, without W/: proxies that compress make ETags weak."""
    return [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
