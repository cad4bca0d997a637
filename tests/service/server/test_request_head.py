"""Heads of requests: Host, target, Upgrade."""

import pytest

from service.errors import MalformedRequest
from service.server.request_head import SEVERAL_HOSTS, check_head, plain_head

HOSTS = [b"a", b"a.example:8000", b"127.0.0.1", b"[::1]:80", b"A_b-c.d:", b"xn--bcher-kva.example", b"a%20b"]
NO_HOSTS = [
    b"", b" ", b"a b", b"a/b", b"a?b", b"a#b", b"user@a", b"a:b", b"a:80:80", b"a:123456", b"[::1", b"::1", b"a,b",
    b"\xc3\xa4", b"<a>", b"a\\b", b"[a.b]:g", b"http://a",
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_a_valid_host_is_taken(host: bytes) -> None:
    assert check_head(b"GET", b"/a?b", host, "1.1") == b"/a?b"
    assert check_head(b"GET", b"http://" + host + b"/a?b", host, "1.1") == b"/a?b"


@pytest.mark.parametrize("host", NO_HOSTS)
def test_an_invalid_host_is_refused(host: bytes) -> None:
    with pytest.raises(MalformedRequest):
        check_head(b"GET", b"/", host, "1.1")
    if b"/" not in host and b"?" not in host:  # where the host of an address ends
        with pytest.raises(MalformedRequest):
            check_head(b"GET", b"http://" + host + b"/a", b"a", "1.1")


def test_http_1_1_needs_one_host_and_http_1_0_does_not() -> None:
    assert check_head(b"GET", b"/", None, "1.0") == b"/"
    with pytest.raises(MalformedRequest, match="no Host header"):
        check_head(b"GET", b"/", None, "1.1")
    for version in ("1.0", "1.1"):
        with pytest.raises(MalformedRequest, match="more than one Host"):
            check_head(b"GET", b"/", SEVERAL_HOSTS, version)


@pytest.mark.parametrize(
    ("method", "target", "path"),
    [
        (b"GET", b"/", b"/"),
        (b"GET", b"//a//b", b"//a//b"),
        (b"GET", b"http://a", b"/"),
        (b"GET", b"HTTPS://a?b=c", b"/?b=c"),
        (b"GET", b"http://a:1/b?c", b"/b?c"),
        (b"OPTIONS", b"*", b"*"),
        (b"GET", b"*", None),
        (b"GET", b"a", None),
        (b"GET", b"a:80", None),
        (b"CONNECT", b"a:80", None),
        (b"GET", b"/a#b", None),
        (b"GET", b"ftp://a/b", None),
        (b"GET", b"http:///b", None),
        (b"GET", b"http://user@a/b", None),
        (b"GET", b"/\xc3\xa4", None),
    ],
)
def test_targets(method: bytes, target: bytes, path: bytes | None) -> None:
    if path is not None:
        assert check_head(method, target, b"a", "1.1") == path
    else:
        with pytest.raises(MalformedRequest):
            check_head(method, target, b"a", "1.1")


def test_a_head_without_its_upgrade_keeps_everything_else() -> None:
    headers = [
        (b"host", b"a"), (b"connection", b"Upgrade, close , HTTP2-Settings"), (b"upgrade", b"h2c"),
        (b"http2-settings", b"AA"), (b"content-length", b"3"),
    ]  # fmt: skip
    head = plain_head(b"POST", b"/a?b", "1.1", headers)
    assert head == b"POST /a?b HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 3\r\n\r\n"


@pytest.mark.parametrize(
    "codings", [[b"gzip", b"chunked"], [b"gzip, chunked"], [b"chunked", b"chunked"], [b"identity"]]
)
def test_no_other_transfer_coding_than_chunked(codings: list[bytes]) -> None:
    assert check_head(b"POST", b"/", b"a", "1.1", [b"chunked"]) == b"/"
    with pytest.raises(MalformedRequest, match="chunked"):
        check_head(b"POST", b"/", b"a", "1.1", codings)


@pytest.mark.parametrize("version", ["0.9", "2.0", "1.2"])
def test_no_other_version(version: str) -> None:
    with pytest.raises(MalformedRequest, match=r"HTTP/1\.1 or HTTP/1\.0"):
        check_head(b"GET", b"/", b"a", version)
