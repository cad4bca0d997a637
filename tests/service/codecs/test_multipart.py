"""Forms: their parts in order, and what is not a form."""

import pytest

from service.codecs.multipart import FormPart, parse_form
from service.errors import MalformedBody, TooLarge

CONTENT_TYPE = "multipart/form-data; boundary=x"


def form(*parts: bytes) -> bytes:
    return b"".join([b"--x\r\n" + part + b"\r\n" for part in parts]) + b"--x--\r\n"


def field(disposition: bytes, data: bytes) -> bytes:
    return b"Content-Type: image/png\r\nContent-Disposition: form-data" + disposition + b"\r\n\r\n" + data


def test_parts_come_in_their_order_with_name_file_and_bytes() -> None:
    body = form(field(b'; name="image"; filename="a \xc3\xa4.png"', b"\r\n\0--x?"), field(b"; name=text", b""))
    assert parse_form(body, CONTENT_TYPE, 2) == [
        FormPart("image", "a ä.png", b"\r\n\0--x?"),
        FormPart("text", None, b""),
    ]
    assert parse_form(form(), CONTENT_TYPE, 0) == []


@pytest.mark.parametrize(
    ("body", "content_type", "sentence"),
    [
        (form(), "multipart/form-data", "no boundary"),
        (form(field(b"", b"1")), CONTENT_TYPE, "no name in its Content-Disposition"),
        (form(field(b"; name=a", b"1"))[:-6], CONTENT_TYPE, "is cut off: its closing boundary is missing"),
        (b"no form", CONTENT_TYPE, "not the multipart form that its Content-Type says"),
        (b"", CONTENT_TYPE, "is cut off"),
    ],
)
def test_what_is_no_form_is_refused_with_a_sentence(body: bytes, content_type: str, sentence: str) -> None:
    with pytest.raises(MalformedBody, match=sentence):
        parse_form(body, content_type, 9)


def test_more_parts_than_the_limit_are_refused() -> None:
    part = field(b"; name=a", b"1")
    with pytest.raises(TooLarge, match="more than 2 parts") as refusal:
        parse_form(form(part, part, part), CONTENT_TYPE, 2)
    assert refusal.value.facts["limit"] == 2
