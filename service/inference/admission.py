"""A bounded number of requests inside, in count, in bytes and in pixels; whoever does not fit is told at once.

enter -> Permit -> hold(bytes) while the body comes -> take a place -> weigh(pixels) ... -> left on every path

Who comes to a full house is told before its body is read. The place is taken when the body is whole, so that slow
senders hold none; its bytes as they come; the pixels when headers have told them, before anything is decoded.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from service.errors import Overloaded, TooLarge

MEGA = 1_000_000


class Admission:
    """Belongs to one event loop; nothing here waits.

    Args:
        max_requests: requests inside at the same time.
        max_pixels: pixels (images) and numbers (vectors, latents, JSON) of all requests inside.
        max_bytes: of all bodies inside; at least the limit of one.
    """

    def __init__(self, max_requests: int, max_pixels: int, max_bytes: int) -> None:
        self.max_requests = max_requests
        self.max_pixels = max_pixels
        self.max_bytes = max_bytes
        self.requests = 0
        self.pixels = 0
        self.bytes = 0

    def enter(self) -> "Permit":
        """`with house.enter() as permit`: what it takes is given back after the block; Overloaded (429) if full."""
        return Permit(self)


class Permit:
    """One request's place inside, and the bytes and pixels that it holds."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.requests = 0
        self.pixels = 0
        self.bytes = 0

    def __enter__(self) -> Self:
        self._check()
        return self

    def __exit__(self, *_: object) -> None:
        self._admission.requests -= self.requests
        self._admission.pixels -= self.pixels
        self._admission.bytes -= self.bytes

    def take(self) -> None:
        """Take one place until the request leaves, its body being whole; Overloaded (429) if all are taken by now."""
        self._check()
        self._admission.requests += 1
        self.requests += 1

    @contextmanager
    def share(self) -> Iterator["Permit"]:
        """`with permit.share() as part`: what a part of the request weighs is given back after the block."""
        part = Permit(self._admission)
        try:
            yield part
        finally:
            part.__exit__()

    def _check(self) -> None:
        inside = self._admission.requests
        if inside >= self._admission.max_requests:
            raise Overloaded(f"{inside} requests are inside, which is the limit; try again")

    def hold(self, count: int) -> None:
        """Hold `count` bytes more until the request leaves; raises Overloaded (429) if they do not fit now."""
        inside, limit = self._admission.bytes, self._admission.max_bytes
        if inside + count > limit:
            raise Overloaded(f"the bodies inside have {inside} bytes, {limit} fit; try again")
        self._admission.bytes += count
        self.bytes += count

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
