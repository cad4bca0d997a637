"""Content negotiation by Accept."""

import pytest

from service.api.v1.negotiation import choose

OFFERS = ("image/png", "image/jpeg", "application/json")


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "image/png"),
        ("", "image/png"),
        ("*/*", "image/png"),
        ("image/jpeg", "image/jpeg"),
        ("application/json, */*;q=0.5", "application/json"),
        ("image/*;q=0.2, application/json;q=0.1", "image/png"),
        ("image/png;q=0, */*", "image/jpeg"),
        ("text/html", None),
        ("text/html;q=x, IMAGE/JPEG", "image/jpeg"),
        ("nonsense", "image/png"),
    ],
)
def test_accept_chooses_among_the_offers(accept: str | None, expected: str | None) -> None:
    assert choose(accept, OFFERS) == expected
