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


CHROME = "image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8"
CHROME_PAGE = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8"
FIREFOX = "image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5"
SAFARI = (
    "image/webp,image/avif,image/jxl,image/heic,image/heic-sequence,video/*;q=0.8,image/png,image/svg+xml,"
    "image/*;q=0.8,*/*;q=0.5"
)
PICTURES = ("image/tiff", "image/png", "image/jpeg", "image/webp", "image/avif", "application/json")
DEEP = ("image/tiff", "image/png")


@pytest.mark.parametrize(
    "accept", [CHROME, CHROME_PAGE, FIREFOX, SAFARI, "image/webp,*/*", "image/avif, image/*;q=0.1"]
)
def test_a_browser_gets_nothing_of_less_depth_while_it_takes_what_keeps_it(accept: str) -> None:
    assert choose(accept, PICTURES, DEEP) in DEEP


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("image/webp", "image/webp"),
        ("image/webp, image/png;q=0.5", "image/webp"),
        ("image/webp;q=0.5, image/png", "image/png"),
        ("image/avif, application/json;q=0.5", "image/avif"),
        ("image/webp, image/png;q=0, image/tiff;q=0, */*", "image/webp"),
        ("application/json, image/*;q=0.1", "image/tiff"),
        ("image/jpg, image/x-png;q=0.2", "image/jpeg"),
        ("image/pjpeg", "image/jpeg"),
        ("application/pdf", None),
    ],
)
def test_a_client_that_names_formats_decides(accept: str, expected: str | None) -> None:
    assert choose(accept, PICTURES, DEEP) == expected


def test_a_lossy_picture_may_become_what_a_browser_likes_best() -> None:
    assert choose(CHROME, ("image/jpeg", *PICTURES), PICTURES) == "image/webp"
