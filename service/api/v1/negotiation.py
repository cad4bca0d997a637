"""Content negotiation (RFC 9110, 12.5.1): Accept, available media types -> the response's media type."""

from collections.abc import Sequence
from functools import lru_cache

from service.codecs.formats import MEDIA_TYPE_OF_ALIAS, OCTET_STREAM

_NAMED = 2  # the specificity of a range that is one media type
_Range = tuple[str, float]  # media range, quality 0..1


@lru_cache(256)
def choose(accept: str | None, offers: tuple[str, ...], faithful: tuple[str, ...] = ()) -> str | None:
    """The offer with the highest quality, None if the client accepts none of them.

    Args:
        accept: the header's value; None, empty or invalid accepts every offer.
        offers: media types, in the service's order of preference.
        faithful: those of the offers in which nothing of the result is lost.

    The most specific range that covers an offer determines its quality. Of offers with equal quality, one that is named
    wins over one that a wildcard covers, then the earlier one wins. Browsers name the formats that are small and cover
    all others by a wildcard of less quality: that wildcard is no wish to lose anything, so a faithful offer that it
    covers wins over one that is not faithful. A client that names both decides by their qualities.
    """
    ranges = _ranges(accept or "")
    if not ranges:
        return offers[0]
    ranked = [(*_quality(offer, ranges), -index) for index, offer in enumerate(offers)]
    quality, _, index = max(ranked)
    if quality <= 0:
        return None
    if faithful and offers[-index] not in faithful:
        best = max((rank for rank in ranked if offers[-rank[2]] in faithful), default=(0.0, 0, 0))
        if best[0] == quality or (best[0] > 0 and best[1] < _NAMED):
            return offers[-best[2]]
    return offers[-index]


def is_octet_stream(accept: str | None) -> bool:
    """Whether the client asks for bytes, whatever they are: it takes the type that there is without Accept."""
    return accept is not None and accept.partition(";")[0].strip().lower() == OCTET_STREAM


def _quality(offer: str, ranges: Sequence[_Range]) -> tuple[float, int]:
    """(quality of an offer, specificity of the range that determines it: 2 type/subtype, 1 type/*, 0 */*)."""
    family = offer.partition("/")[0] + "/*"
    for specificity, pattern in ((2, offer), (1, family), (0, "*/*")):
        qualities = [quality for media, quality in ranges if media == pattern]
        if qualities:
            return max(qualities), specificity
    return 0.0, 0


def _ranges(accept: str) -> list[_Range]:
    """The valid ranges; parameters other than q are ignored."""
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
            ranges.append((MEDIA_TYPE_OF_ALIAS.get(media, media), quality))
    return ranges
