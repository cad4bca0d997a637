"""Raw responses: which ones are sent by one call. On the wire: tests/abuse/test_answers.py."""

from starlette.responses import Response, StreamingResponse
from starlette.types import Scope

from service.server.raw_response import RAW_RESPONSE, RawResponse, SendAtOnce, send_at_once


def sent_heads(response: Response) -> list[bytes]:
    heads: list[bytes] = []

    def send(_scope: Scope, _status: int, head: bytes, _body: bytes) -> bool:
        heads.append(head)
        return True

    extension: dict[str, SendAtOnce] = {"send": send}
    send_at_once({"type": "http", "extensions": {RAW_RESPONSE: extension}}, response, b"a: b\r\n")
    return heads


def test_only_what_is_whole_and_well_formed_goes_out_in_one_piece() -> None:
    assert sent_heads(Response(b"x")) == [b"content-length: 1\r\na: b\r\n"]
    assert not sent_heads(StreamingResponse(iter([b"x"])))
    assert not sent_heads(Response(b"x", headers={"Model-Name": "a\r\nSet-Cookie: b"}))
    assert not sent_heads(Response(b"x", headers={"Model-Name": "a\nb"}))


def test_a_raw_response_has_the_headers_of_an_ordinary_one() -> None:
    raw = RawResponse(b"x", "image/png", {"model-name": "small"})
    ordinary = Response(b"x", media_type="image/png", headers={"model-name": "small"})
    assert sorted(raw.raw_headers) == sorted(ordinary.raw_headers)
    assert (raw.status_code, raw.body) == (ordinary.status_code, ordinary.body)
