"""A bounded number of requests inside, in count and in pixels; whoever does not fit is told at once.

enter -> Permit -> weigh(pixels) ... -> left on every path

The count is taken before a body is read, so that requests x body limit bounds the memory of bodies; the
pixels are taken when headers have told them, before anything is decoded.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import Overloaded, TooLarge

MEGA = 1_000_000


class Admission:
    """Belongs to one event loop; nothing here waits.

    Args:
        max_requests: requests inside at the same time.
        max_pixels: pixels (images) and numbers (vectors, latents, JSON) of all requests inside.
    """

    def __init__(self, max_requests: int, max_pixels: int) -> None:
        self.max_requests = max_requests
        self.max_pixels = max_pixels
        self.requests = 0
        self.pixels = 0

    @contextmanager
    def enter(self) -> Iterator["Permit"]:
        """One place inside for as long as the block runs; raises Overloaded (429) when the house is full."""
        if self.requests >= self.max_requests:
            raise Overloaded(f"{self.requests} requests are inside, which is the limit; try again")
        self.requests += 1
        permit = Permit(self)
        try:
            yield permit
        finally:
            self.requests -= 1
            self.pixels -= permit.pixels


class Permit:
    """One request's place inside, and the pixels that it holds."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.pixels = 0

    def weigh(self, pixels: int) -> None:
        """Hold `pixels` more until the request leaves.

        Raises:
            TooLarge: this request alone would never fit (413).
            Overloaded: it does not fit now (429).
        """
        inside, limit = self._admission.pixels, self._admission.max_pixels
        if self.pixels + pixels > limit:
            raise TooLarge(
                f"the request holds {(self.pixels + pixels) / MEGA:.1f} M pixels or numbers; "
                f"the limit is {limit / MEGA:.1f} M",
                limit=limit,
            )
        if inside + pixels > limit:
            raise Overloaded(f"{inside / MEGA:.1f} M pixels are inside, {limit / MEGA:.1f} M fit; try again")
        self._admission.pixels += pixels
        self.pixels += pixels
