"""PDF documents: a PDF in, a cleaned PDF out, page by page.

bytes -> Reader: pages and their sizes, pixels reserved -> for each page: draw -> inference -> Writer -> bytes

In memory are the file, one page, and what is written so far. As many documents are open at once as there are workers;
others wait, within their deadline.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from service.codecs.pdf import Limits, Reader, Writer
from service.errors import InvalidInput, TooLarge
from service.imaging.picture import Picture
from service.inference import tiled
from service.inference.admission import Permit
from service.inference.engine import Inference
from service.inference.inputs import Images
from service.inference.options import Options
from service.inference.progress import Progress
from service.inference.scheduler import Scheduler
from service.model.runtime import Model
from service.settings import Settings

OnPage = Callable[[int, int, Picture, Picture], Awaitable[None]]  # number from 1, pages, before, after


@dataclass(frozen=True)
class CleanedDocument:
    """`data`: a PDF of so many `pages`."""

    data: bytes
    pages: int


class Documents:
    """Belongs to one event loop."""

    def __init__(self, scheduler: Scheduler, inference: Inference, settings: Settings) -> None:
        self._scheduler, self._inference = scheduler, inference
        self._dpi, self._max_bytes = settings.pdf_dpi, settings.max_body_bytes
        self._limits = Limits(
            settings.pdf_pages, settings.max_pixels, settings.max_side, settings.pdf_seconds, settings.pdf_memory
        )
        self._slots = asyncio.Semaphore(settings.workers)

    async def denoise(
        self,
        model: Model,
        data: bytes,
        options: Options,
        permit: Permit,
        on_pixels: Callable[[int], None],
        progress: Progress | None = None,
        on_page: OnPage | None = None,
    ) -> CleanedDocument:
        """The cleaned document.

        Args:
            permit: the largest page's pixels and the written bytes are reserved in it.
            on_pixels: called with the pixels of all pages before the first is drawn.
            progress: planned by `on_pixels`; advances with the tiles of each page.
            on_page: awaited for each page that is clean.
        Raises:
            InvalidInput, TooLarge, Overloaded, ModelFailed.
        """
        if options.white is not None:
            raise InvalidInput("white is for pictures of more than 8 bits; the pages of a PDF are drawn with 8")
        tiled.keeps_figures(model, options.figures)
        dpi = options.dpi or self._dpi
        async with self._slots:
            reader = Reader(self._limits)
            try:
                # not in the scheduler's threads: a document that takes all its time would keep others from them
                sizes = await asyncio.to_thread(reader.open, data, dpi)
                pixels = [math.prod(size.count_pixels(dpi)) for size in sizes]
                permit.reserve_pixels(max(pixels))
                permit.reserve_memory(tiled.estimate_memory(model, [max(pixels)], 1))
                on_pixels(sum(pixels))
                writer, total_bytes = Writer(), 0
                for number, size in enumerate(sizes, 1):
                    picture = await asyncio.to_thread(reader.render_page, number, dpi)
                    result = await self._inference.run(model, "denoise", Images((picture,)), options, progress)
                    (page,) = result.pictures or (Picture(result.samples[0]),)
                    if on_page is not None:
                        await on_page(number, len(sizes), picture, page)
                    page_bytes = await self._scheduler.call(partial(writer.add_page, size=size), page)
                    total_bytes += page_bytes
                    if total_bytes > self._max_bytes:
                        raise TooLarge(
                            f"the first {number} of {len(sizes)} pages have {total_bytes / 1e6:.0f} MB when cleaned; "
                            f"the limit is {self._max_bytes / 1e6:.0f} MB: ask for fewer dots with ?dpi=, or send less",
                            limit=self._max_bytes,
                        )
                    permit.reserve_bytes(page_bytes)
                return CleanedDocument(await self._scheduler.call(Writer.to_bytes, writer), len(sizes))
            finally:
                reader.close()
