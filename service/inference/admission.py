"""Admission control: a bounded number of requests, bytes and pixels in progress; what does not fit is rejected at once.

enter -> Permit -> reserve_bytes while the body arrives -> occupy a place -> reserve_pixels -> released on every path

Overload is rejected before the body is read. A request occupies a place once its body is complete, so that slow
senders occupy none. Bytes are reserved as they arrive, pixels when headers tell them, before anything is decoded.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from service.errors import Overloaded, TooLarge
from service.settings import MEGAPIXEL


class Admission:
    """Belongs to one event loop; nothing here waits.

    Args:
        max_requests: requests in progress at the same time.
        max_pixels: pixels (images) and numbers (vectors, latents, JSON) of all requests in progress.
        max_bytes: of all their bodies; at least the limit of one.
    """

    def __init__(self, max_requests: int, max_pixels: int, max_bytes: int) -> None:
        self.max_requests = max_requests
        self.max_pixels = max_pixels
        self.max_bytes = max_bytes
        self.requests = 0
        self.pixels = 0
        self.bytes = 0

    def enter(self) -> "Permit":
        """`with admission.enter() as permit`: released after the block; Overloaded (429) if no place is free."""
        return Permit(self)


class Permit:
    """One request's place, and the bytes and pixels that it has reserved."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.requests = 0
        self.pixels = 0
        self.bytes = 0

    def __enter__(self) -> Self:
        self._check_capacity()
        return self

    def __exit__(self, *_: object) -> None:
        self._admission.requests -= self.requests
        self._admission.pixels -= self.pixels
        self._admission.bytes -= self.bytes

    def occupy(self) -> None:
        """Take a place until the request ends, its body being complete; Overloaded (429) if none is free by now."""
        self._check_capacity()
        self._admission.requests += 1
        self.requests += 1

    @contextmanager
    def sub_permit(self) -> Iterator["Permit"]:
        """`with permit.sub_permit() as part`: what a part of the request reserves is released after the block."""
        part = Permit(self._admission)
        try:
            yield part
        finally:
            part.__exit__()

    def _check_capacity(self) -> None:
        current = self._admission.requests
        if current >= self._admission.max_requests:
            raise Overloaded(f"{current} requests are inside, which is the limit; try again")

    def reserve_bytes(self, count: int) -> None:
        """Reserve `count` more bytes until the request ends; Overloaded (429) if they do not fit now."""
        current, limit = self._admission.bytes, self._admission.max_bytes
        if current + count > limit:
            raise Overloaded(f"the bodies inside have {current} bytes, {limit} fit; try again")
        self._admission.bytes += count
        self.bytes += count

    def reserve_pixels(self, count: int) -> None:
        """Reserve `count` more pixels or numbers until the request ends.

        Raises:
            TooLarge: this request alone would never fit (413).
            Overloaded: it does not fit now (429).
        """
        current, limit = self._admission.pixels, self._admission.max_pixels
        if self.pixels + count > limit:
            raise TooLarge(
                f"the request holds {(self.pixels + count) / MEGAPIXEL:.1f} M pixels or numbers; "
                f"the limit is {limit / MEGAPIXEL:.1f} M",
                limit=limit,
            )
        if current + count > limit:
            raise Overloaded(f"{current / MEGAPIXEL:.1f} M pixels are inside, {limit / MEGAPIXEL:.1f} M fit; try again")
        self._admission.pixels += count
        self.pixels += count
