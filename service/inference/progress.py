"""Progress of one request: the share of its work that is done, and the time that the rest takes.

plan (pixels of all runs) -> advance, once for each work item -> fraction, seconds_left

The unit is a pixel that one run of the model has covered: known before the work starts, and about as long as any other.
"""

from time import perf_counter

_MIN_FRACTION = 0.01  # before that much is done, the time left is not known


class Progress:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._planned = 0.0
        self._done = 0.0
        self._start_time = self._last_time = 0.0

    def plan(self, pixels: float) -> None:
        """So many pixels are to be covered, those of a second run counted again; called once, when the work starts."""
        self._planned, self._start_time = pixels, perf_counter()

    def advance(self, pixels: float) -> None:
        """So many more pixels are covered."""
        self._done += pixels
        self._last_time = perf_counter()

    @property
    def fraction(self) -> float:
        """0 to 1."""
        return min(1.0, self._done / self._planned) if self._planned else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimated from the time up to the last work item; None: too little is done to tell."""
        fraction = self.fraction
        if fraction < _MIN_FRACTION:
            return None
        estimate = (self._last_time - self._start_time) * (1 - fraction) / fraction
        return max(0.0, estimate - (perf_counter() - self._last_time))
