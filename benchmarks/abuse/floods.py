"""Floods: what a client may send without end, in every place where the protocol has no limit of its own.

Flood (first bytes, then one block for ever) -> sent by many connections -> memory of each, /livez beside them, the end
"""

import multiprocessing
import selectors
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection

from benchmarks.abuse.report import Outcome
from benchmarks.abuse.serving import HOST, Client, Serving

CONNECTION_MEMORY = 1 << 20  # bytes: SECURITY.md
SLOWEST_HEALTH = 0.1  # seconds
_CHUNKED = b"Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n"


@dataclass(frozen=True)
class Flood:
    """`first` is sent once, `block` for ever; `statuses` are those that may answer, the flood has to be ended."""

    name: str
    first: bytes
    block: bytes
    statuses: frozenset[int]


@dataclass
class Flooded:
    """What one flood did."""

    sent: int  # bytes that were accepted, on all connections
    open: int  # connections that took all of it
    growth: int  # bytes of memory, at the worst
    slowest_health: float  # seconds that /livez took, at the worst
    statuses: Counter[int]


def endless_floods(post: bytes) -> tuple[Flood, ...]:
    """Floods that must be ended. Args: post: the path of an operation."""
    head = b"POST " + post + b" HTTP/1.1\r\nHost: a\r\n"
    chunked = head + _CHUNKED + b"\r\n"
    large = b"Content-Length: 100000000000\r\n\r\n"
    too_large, refused = frozenset({431}), frozenset({401, 404, 413, 415})
    return (
        Flood("an address", b"GET /", b"a" * 4096, too_large),
        Flood("a header's name", head, b"a" * 4096, too_large),
        Flood("a header's value", head + b"a: ", b"a" * 4096, too_large),
        Flood("headers", head, b"a:\r\n" * 1024, too_large),
        Flood("blank lines", b"", b"\r\n" * 2048, frozenset({400, 431})),
        Flood("zeros of a chunk's length", chunked, b"0" * 4096, too_large),
        Flood("a chunk's extension", chunked + b"1;", b"a" * 4096, too_large),
        Flood("extensions of small chunks", chunked, b"1;" + b"a" * 500 + b"\r\n[\r\n", too_large),
        Flood("trailers", chunked + b"0\r\n", b"A1: vvv\r\n" * 455, too_large),
        Flood("a trailer's value", chunked + b"1\r\n[\r\n0\r\na: ", b"a" * 4096, too_large),
        Flood("a trailer's name", chunked + b"1\r\n[\r\n0\r\n", b"a" * 4096, too_large),
        Flood("a body after 404", b"POST /no HTTP/1.1\r\nHost: a\r\n" + large, b"a" * 4096, refused),
        Flood("a body after 413", head + b"Content-Type: application/json\r\n" + large, b"a" * 4096, refused),
        Flood(
            "chunks after 404",
            b"POST /no HTTP/1.1\r\nHost: a\r\n" + _CHUNKED + b"\r\n",
            b"4\r\naaaa\r\n" * 455,
            refused,
        ),
        Flood("chunks over the limit", chunked, b"ff0\r\n" + b" " * 4080 + b"\r\n", refused),
        Flood(
            "trailers after 404",
            b"POST /no HTTP/1.1\r\nHost: a\r\n" + _CHUNKED + b"\r\n0\r\n",
            b"a:\r\n" * 1024,
            too_large | refused,
        ),
    )


def pipelined_floods(post: bytes) -> tuple[Flood, ...]:
    """Requests behind requests, whose answers the client does not take. Args: post: the path of an operation."""
    get = b"GET /livez HTTP/1.1\r\nHost:a\r\n\r\n"
    small = (
        b"POST " + post + b" HTTP/1.1\r\nHost:a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n[1, 2, 3]"
    )
    return (
        Flood("requests", get, get * 200, frozenset({200})),
        Flood("posts", small, small * 50, frozenset({200, 422, 429})),
        Flood(
            "requests after one that closes",
            get.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
            get * 200,
            frozenset({200}),
        ),
    )


def flood(served: Serving, attack: Flood, connections: int, size: int, seconds: float) -> Flooded:
    """Send `size` bytes on each connection, as far as they are taken, for at most so long; answers stay unread."""
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    sender = context.Process(target=_send, args=(served.port, attack, connections, size, seconds, theirs))
    before, growth, slowest = served.memory, 0, 0.0
    sender.start()
    with Client(served.port) as client:
        while served.alive and not ours.poll(0.02):
            started = time.perf_counter()
            client.try_to("GET", "/livez")
            slowest = max(slowest, time.perf_counter() - started)
            growth = max(growth, served.memory - before)
    sent, still_open, statuses = ours.recv()
    sender.join()
    return Flooded(sent, still_open, growth, slowest, statuses)


def _send(port: int, attack: Flood, connections: int, size: int, seconds: float, result: "Connection") -> None:
    """Answer with: bytes sent, connections that took all, statuses."""
    block = attack.block * max(1, (1 << 16) // len(attack.block))
    selector = selectors.DefaultSelector()
    sent: dict[socket.socket, int] = {}
    rest: dict[socket.socket, bytes] = {}
    still_open = 0
    for _ in range(connections):
        connection = socket.create_connection((HOST, port))
        connection.sendall(attack.first)
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_WRITE, connection)
        sent[connection], rest[connection] = 0, block
    until = time.monotonic() + seconds
    while selector.get_map() and time.monotonic() < until:
        for key, _ in selector.select(0.1):
            connection = key.data
            try:
                count = connection.send(rest[connection])
            except BlockingIOError:
                continue
            except OSError:  # the service has closed it
                selector.unregister(connection)
                continue
            sent[connection] += count
            rest[connection] = rest[connection][count:] or block  # blocks stay whole
            if sent[connection] >= size:
                still_open += 1
                selector.unregister(connection)
    statuses = Counter(_status(connection) for connection in sent)
    for connection in sent:
        connection.close()
    result.send((sum(sent.values()), still_open, statuses))


def floods(served: Serving, attacks: Sequence[Flood], connections: int, size: int, must_end: bool) -> Outcome:
    """Each flood on `connections` at once, `size` bytes on each.

    Args:
        must_end: the service has to close the connections before all is sent.
    """
    started, broken, worst, slowest, sent = time.perf_counter(), [], 0.0, 0.0, 0
    for attack in attacks:
        found = flood(served, attack, connections, size, 60)
        time.sleep(0.5)  # until the connections are forgotten
        each = found.growth / connections
        worst, slowest, sent = max(worst, each), max(slowest, found.slowest_health), sent + found.sent
        if each > CONNECTION_MEMORY:
            broken.append(f"{attack.name}: {each / 2**20:.1f} MiB for each connection")
        if found.slowest_health > SLOWEST_HEALTH:
            broken.append(f"{attack.name}: /livez took {found.slowest_health:.2f} s")
        if must_end and found.open:
            broken.append(f"{attack.name}: {found.open} connections took all of it")
        unexpected = set(found.statuses) - attack.statuses - {0}  # 0: reset before the answer could be read
        if unexpected:
            broken.append(f"{attack.name}: answered {dict(found.statuses)}")
        if not served.alive:
            broken.append(f"{attack.name}: the service has ended")
            break
    text = (
        f"{sent / 2**20:.0f} MiB were taken; {worst / 2**10:.0f} KiB for each connection; "
        f"/livez {slowest * 1000:.0f} ms at most"
    )
    name = "floods" if must_end else "pipelined floods"
    return Outcome(name, f"{len(attacks)} kinds x {connections}", text, time.perf_counter() - started, None, broken)


def _status(connection: socket.socket) -> int:
    """Of the first answer; 0 if there is none."""
    connection.setblocking(True)
    connection.settimeout(0.2)
    try:
        head = connection.recv(12)
    except OSError:
        return 0
    return int(head[9:12]) if head.startswith(b"HTTP/1.1 ") else 0
