"""The page /docs (Swagger UI): it follows the reader's light or dark theme, and leads back to the web page.

FastAPIOffline's route -> its HTML -> style and link added -> response
"""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

PATH = "/docs"
_STYLE = """<meta name="color-scheme" content="light dark">
<style>
.back { max-width: 1460px; margin: 0 auto; padding: 14px 20px 0; font: 600 15px/1.5 system-ui, sans-serif; }
.back a { color: #0f6a73; }
@media (prefers-color-scheme: dark) {
  html, body { background: #131517; }
  .back a { color: #6cc6cf; }
  .swagger-ui { filter: invert(0.88) hue-rotate(180deg); }
  .swagger-ui .microlight, .swagger-ui .highlight-code, .swagger-ui img { filter: invert(1) hue-rotate(180deg); }
}
</style>
</head>"""
_LINK = '<body>\n<nav class="back"><a href="./">← Autoencoder service</a></nav>'


def restyle_documentation(app: FastAPI, *, has_page: bool) -> None:
    """Replace the route of /docs by one that changes its HTML; nothing happens if there is none.

    Args:
        has_page: whether there is a web page to lead back to.
    """
    for index, route in enumerate(app.router.routes):
        if getattr(route, "path", None) == PATH:
            endpoint: Callable[[Request], Awaitable[HTMLResponse]] = _endpoint_of(route)
            app.router.routes[index] = Route(PATH, _restyled(endpoint, has_page=has_page), methods=["GET"])


def _endpoint_of(route: Any) -> Callable[[Request], Awaitable[HTMLResponse]]:
    endpoint: Callable[[Request], Awaitable[HTMLResponse]] = route.endpoint
    return endpoint


def _restyled(
    endpoint: Callable[[Request], Awaitable[HTMLResponse]], *, has_page: bool
) -> Callable[[Request], Awaitable[Response]]:
    async def documentation(request: Request) -> Response:
        html = bytes((await endpoint(request)).body).decode()
        html = html.replace("</head>", _STYLE, 1)
        return HTMLResponse(html.replace("<body>", _LINK, 1) if has_page else html)

    return documentation
