"""The head of a request: what RFC 9112 demands of its target and its Host, beyond what the parser checks.

method, target, Host -> check_head -> target in origin form | MalformedRequest        headers -> plain_head (no Upgrade)
"""

import re
from collections.abc import Iterable, Sequence

import httptools

from service.errors import MalformedRequest

VERSIONS = ("1.1", "1.0")
SEVERAL_HOSTS = b","  # in place of a Host header's value: there is more than one
ANY_RESOURCE = b"*"  # the target of OPTIONS that asks about the server

# RFC 3986, 3.2.2 and 3.2.3; an empty host is invalid in http (RFC 9110, 4.2.1), and so is user information
_HOST = re.compile(rb"(?:[\w.~!$&'()*+;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?", re.ASCII)
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#]*)([^#]*)")
_UPGRADE_HEADERS = frozenset({b"upgrade", b"http2-settings"})


def check_head(
    method: bytes, target: bytes, host: bytes | None, version: str, transfer_codings: Sequence[bytes] = ()
) -> bytes:
    """The target in origin form ("/path?query"), or ANY_RESOURCE.

    Args:
        host: the value of Host, SEVERAL_HOSTS, or None.
        version: of HTTP, such as "1.1".
        transfer_codings: the values of all headers Transfer-Encoding, in lower case.
    Raises:
        MalformedRequest: HTTP/1.1 without Host, several or invalid ones; a target that is not of this server's kind;
            another version; another transfer coding than chunked.
    """
    if version not in VERSIONS:
        raise MalformedRequest("the first line of the request does not end with HTTP/1.1 or HTTP/1.0")
    if transfer_codings and list(transfer_codings) != [b"chunked"]:
        raise MalformedRequest("the only Transfer-Encoding is chunked; send the body as it is, with Content-Length")
    if host is None and version != "1.0":
        raise MalformedRequest("the request has no Host header, which HTTP/1.1 requires")
    if host == SEVERAL_HOSTS:
        raise MalformedRequest("the request has more than one Host header")
    if host is not None and not _HOST.fullmatch(host):
        raise MalformedRequest("the Host header is not the name or address of a host, with or without a port")
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is not None:  # clients send it to proxies; every server must take it (RFC 9112, 3.2.2)
        if not _HOST.fullmatch(absolute[1]):
            raise MalformedRequest("the address of the request has no valid host")
        target = absolute[2] if absolute[2].startswith(b"/") else b"/" + absolute[2]
    if target == ANY_RESOURCE and method == b"OPTIONS":
        return target
    if not target.startswith(b"/") or b"#" in target or not target.isascii():
        raise MalformedRequest("the address of the request is not a path: it starts with / and has no # in it")
    try:
        httptools.parse_url(target)
    except httptools.HttpParserInvalidURLError as error:
        raise MalformedRequest("the address of the request is not valid") from error
    return target


def plain_head(method: bytes, target: bytes, version: str, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The head without its wish for another protocol, which a server may ignore (RFC 9110, 7.8).

    Args:
        headers: their names in lower case.
    """
    lines = [b"%b %b HTTP/%b\r\n" % (method, target, version.encode())]
    for name, value in headers:
        if name == b"connection":
            options = [option.strip() for option in value.split(b",")]
            kept = [option for option in options if option.lower() not in _UPGRADE_HEADERS]
            if kept:
                lines.append(b"%b: %b\r\n" % (name, b", ".join(kept)))
        elif name not in _UPGRADE_HEADERS:
            lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join((*lines, b"\r\n"))
