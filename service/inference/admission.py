"""Admission control: a bounded number of requests, bytes, pixels and working memory in progress; the rest is rejected.

enter -> Permit -> reserve_bytes while the body arrives -> occupy a place -> reserve_pixels, reserve_memory -> released

Overload is rejected before the body is read. A request occupies a place once its body is complete, so that slow
senders occupy none. Bytes are reserved as they arrive, pixels when headers tell them, before anything is decoded.

What a request has reserved is released when it has ended and none of its work is left in a thread: a thread that
cannot be stopped keeps the memory, whatever its caller was answered.
"""

from contextvars import ContextVar
from typing import Self

from service.errors import Overloaded, TooLarge
from service.settings import MEGAPIXEL


class Admission:
    """Belongs to one event loop; nothing here waits.

    Args:
        max_requests: requests in progress at the same time.
        max_pixels: pixels (images) and numbers (vectors, latents, JSON) of all requests in progress.
        max_bytes: of all their bodies; at least the limit of one.
        max_memory: bytes that runs on whole images take, as their packages say.
    """

    def __init__(self, max_requests: int, max_pixels: int, max_bytes: int, max_memory: int = 1 << 31) -> None:
        self.max_requests = max_requests
        self.max_pixels = max_pixels
        self.max_bytes = max_bytes
        self.max_memory = max_memory
        self.requests = 0
        self.pixels = 0
        self.bytes = 0
        self.memory = 0

    def enter(self) -> "Permit":
        """`with admission.enter() as permit`: released after the block; Overloaded (429) if no place is free."""
        return Permit(self)


class Permit:
    """One request's place, and the bytes and pixels that it has reserved.

    Args:
        parent: of a part of a request; it is held as long as the part.
    """

    def __init__(self, admission: Admission, parent: "Permit | None" = None) -> None:
        self._admission, self._parent = admission, parent
        self._outer: Permit | None = None
        self._holds = 0
        self._is_ended = False
        self.requests = 0
        self.pixels = 0
        self.bytes = 0
        self.memory = 0

    def __enter__(self) -> Self:
        if self._parent is None:
            self._check_capacity()
        self._outer = _current_permit.get()
        _current_permit.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _current_permit.set(self._outer)
        self._is_ended = True
        self._release()

    def hold(self) -> None:
        """Keep what is reserved until `unhold`, even if the request ends before."""
        self._holds += 1
        if self._parent is not None:
            self._parent.hold()

    def unhold(self) -> None:
        """The work is no longer in a thread."""
        self._holds -= 1
        self._release()
        if self._parent is not None:
            self._parent.unhold()

    def _release(self) -> None:
        if self._is_ended and not self._holds:
            self._admission.requests -= self.requests
            self._admission.pixels -= self.pixels
            self._admission.bytes -= self.bytes
            self._admission.memory -= self.memory
            self.requests = self.pixels = self.bytes = self.memory = 0

    def occupy(self) -> None:
        """Take a place until the request ends, its body being complete; Overloaded (429) if none is free by now."""
        self._check_capacity()
        self._admission.requests += 1
        self.requests += 1

    def sub_permit(self) -> "Permit":
        """`with permit.sub_permit() as part`: what a part of the request reserves is released after the block."""
        return Permit(self._admission, self)

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

    def reserve_pixels_up_to(self, count: int) -> None:
        """Reserve as many more as are missing for `count`; raises as `reserve_pixels`."""
        if count > self.pixels:
            self.reserve_pixels(count - self.pixels)

    def reserve_memory(self, count: int) -> None:
        """Reserve `count` more bytes of working memory until the request ends; errors as for `reserve_pixels`."""
        current, limit = self._admission.memory, self._admission.max_memory
        if self.memory + count > limit:
            raise TooLarge(
                f"the model needs {(self.memory + count) / 1e6:.0f} MB for a run on these images; the limit is "
                f"{limit / 1e6:.0f} MB: send smaller ones, or raise AUTOENCODER_MAX_RUN_BYTES",
                limit=limit,
            )
        if current + count > limit:
            raise Overloaded(f"runs inside take {current / 1e6:.0f} MB, {limit / 1e6:.0f} MB fit; try again")
        self._admission.memory += count
        self.memory += count


_current_permit: ContextVar[Permit | None] = ContextVar("permit", default=None)


def current_permit() -> Permit | None:
    """That of the request, or of its part, whose task calls this; None outside of any."""
    return _current_permit.get()
