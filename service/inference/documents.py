"""A PDF in, a cleaned PDF out: a page at a time.

bytes -> Reader: pages, sizes, weighed -> each page: drawn -> inference -> Writer -> bytes

In memory are the file, one page, and what is written so far. As many documents are open at once as there are workers;
the others wait for their turn, within their deadline.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from service.codecs.pdf import Limits, Reader, Writer
from service.codecs.pdf_process import POINTS_PER_INCH
from service.errors import TooLarge
from service.imaging.picture import Picture
from service.inference.admission import MEGA, Permit
from service.inference.engine import Inference, Pages
from service.inference.options import Options
from service.inference.scheduler import Scheduler
from service.model.runtime import Model
from service.settings import Settings


@dataclass(frozen=True)
class Cleaned:
    """The PDF, how many pages it has, and how many pixels all of them had."""

    data: bytes
    pages: int
    pixels: int


class Documents:
    """Belongs to one event loop."""

    def __init__(self, scheduler: Scheduler, inference: Inference, settings: Settings) -> None:
        self._scheduler, self._inference = scheduler, inference
        self._dpi, self._most_bytes = settings.pdf_dpi, settings.max_body_bytes
        self._limits = Limits(
            settings.pdf_pages, settings.max_pixels, settings.max_side, settings.pdf_seconds, settings.pdf_memory
        )
        self._turns = asyncio.Semaphore(settings.workers)

    async def denoise(
        self, model: Model, data: bytes, options: Options, permit: Permit, extend: Callable[[int], None]
    ) -> Cleaned:
        """The cleaned document.

        Args:
            permit: holds the largest page's pixels, and the bytes that are written.
            extend: told of all pages' pixels, which the request's time depends on.
        Raises:
            InvalidInput, TooLarge, Overloaded, ModelFailed.
        """
        dpi = options.dpi or self._dpi
        async with self._turns:
            reader = Reader(self._limits)
            try:
                # not in the scheduler's threads, which a document that takes all its time would keep from the others
                sizes = await asyncio.to_thread(reader.open, data, dpi)
                pixels = [round(width * height * (dpi / POINTS_PER_INCH) ** 2) for width, height in sizes]
                permit.weigh(max(pixels))
                extend(sum(pixels))
                writer, written = Writer(), 0
                for number, size in enumerate(sizes, 1):
                    picture = await asyncio.to_thread(reader.render_page, number, dpi)
                    result = await self._inference.run(model, "denoise", Pages((picture,)), options)
                    (cleaned,) = result.pictures or (Picture(result.samples[0]),)
                    more = await self._scheduler.call(partial(writer.add_page, size=size), cleaned)
                    written += more
                    if written > self._most_bytes:
                        raise TooLarge(
                            f"the first {number} of {len(sizes)} pages have {written / MEGA:.0f} MB when cleaned; the "
                            f"limit is {self._most_bytes / MEGA:.0f} MB: ask for fewer dots with ?dpi=, or send less",
                            limit=self._most_bytes,
                        )
                    permit.hold(more)
                return Cleaned(
                    await self._scheduler.call(lambda made: made.to_bytes(), writer), len(sizes), sum(pixels)
                )
            finally:
                reader.close()
