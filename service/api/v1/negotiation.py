"""Accept (RFC 9110, 12.5.1) -> the form of the answer, among those that can be had."""

from collections.abc import Sequence
from functools import lru_cache

_Range = tuple[str, float]  # media range, quality 0..1


@lru_cache(256)
def choose(accept: str | None, offers: tuple[str, ...]) -> str | None:
    """The offer that the client likes best, None if it takes none of them.

    Args:
        accept: the header's value; None, empty or wholly unreadable means anything will do.
        offers: media types, the service's own preference first.

    An offer's quality is that of the most specific range that covers it. Among equals, one that was named wins
    over one that a wildcard covers, and then the earlier offer.
    """
    ranges = _ranges(accept or "")
    if not ranges:
        return offers[0]
    ranked = [(*_quality(offer, ranges), -index) for index, offer in enumerate(offers)]
    quality, _, index = max(ranked)
    return offers[-index] if quality > 0 else None


def _quality(offer: str, ranges: Sequence[_Range]) -> tuple[float, int]:
    """Quality of an offer and how specific the range is that says so (2 named, 1 type/*, 0 */*)."""
    family = offer.partition("/")[0] + "/*"
    for specificity, wanted in ((2, offer), (1, family), (0, "*/*")):
        qualities = [quality for media, quality in ranges if media == wanted]
        if qualities:
            return max(qualities), specificity
    return 0.0, 0


def _ranges(accept: str) -> list[_Range]:
    """The ranges that can be read; parameters other than q do not matter to the forms we have."""
    ranges = []
    for element in accept.split(","):
        media, *parameters = (part.strip().lower() for part in element.split(";"))
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = -1.0
        if media.count("/") == 1 and 0 <= quality <= 1:
            ranges.append((media, quality))
    return ranges
