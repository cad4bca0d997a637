"""Route of the limits: GET /v1/limits, so that clients need not find out by being refused.

Settings, table of formats -> Limits
"""

from fastapi import FastAPI

from service.api.schemas import Limits
from service.codecs import pdf
from service.codecs.formats import PDF, READABLE_MEDIA_TYPES
from service.settings import Settings


def add_limits_route(app: FastAPI, settings: Settings) -> None:
    limits = Limits(
        deadline=settings.deadline,
        deadline_per_megapixel=settings.deadline_per_megapixel,
        max_deadline=settings.max_deadline,
        max_body_bytes=settings.max_body_bytes,
        max_pixels=settings.max_pixels,
        max_side=settings.max_side,
        max_batch=settings.max_batch,
        pdf_pages=settings.pdf_pages,
        media_types=[*READABLE_MEDIA_TYPES, *([PDF] if pdf.IS_INSTALLED else [])],
    )

    @app.get("/v1/limits", tags=["models"], summary="What a request may have, and which files are read")
    async def get_limits() -> Limits:
        return limits
