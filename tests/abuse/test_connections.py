"""What a client may keep waiting, how long, how much and how many; by raw sockets against a real process."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest

from benchmarks.abuse import bodies, crowds
from benchmarks.abuse.bodies import npy
from benchmarks.abuse.serving import HOST, Client, Serving

ENCODE = "/v1/models/small/encode"
HEAD = (
    b"POST /v1/models/small/encode HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
)
GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"


@contextmanager
def connected(served: Serving, first: bytes = b"") -> Iterator[socket.socket]:
    with socket.create_connection((HOST, served.port), timeout=10) as connection:
        connection.sendall(first)
        yield connection


def rest(connection: socket.socket) -> bytes:
    """Everything until the service closes; an error if it does not within 10 seconds."""
    received = bytearray()
    try:
        while data := connection.recv(65536):
            received += data
    except ConnectionError:  # closed with what we sent unread
        pass
    return bytes(received)


def refused(answer: bytes, status: int, *words: str) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"connection: close" in head
    assert b"content-type: application/problem+json" in head
    document = json.loads(body)
    assert document["status"] == status
    for word in words:
        assert word in document["detail"]


def test_who_says_nothing_is_closed_without_a_word(served: Serving) -> None:
    with connected(served) as connection:
        assert rest(connection) == b""


def test_headers_that_are_not_whole_in_their_time_are_408(served: Serving) -> None:
    with connected(served, b"GET /livez HTTP/1.1\r\nHo") as connection:
        refused(rest(connection), 408, "the headers were not whole after 0.5 seconds")


def test_a_second_requests_headers_have_their_time_too(served: Serving) -> None:
    with connected(served, GET + b"GET /li") as connection:
        first, _, second = rest(connection).partition(b'{"status":"alive"}')
        assert first.startswith(b"HTTP/1.1 200 OK")
        refused(second, 408)


def test_a_body_that_makes_no_headway_is_408(served: Serving) -> None:
    with connected(served, HEAD % 5000 + b"[" * 100) as connection:
        refused(rest(connection), 408, "0 bytes in 0.5 seconds", "at least 1024 bytes a second")


def test_a_large_body_at_the_pace_may_take_longer_than_the_deadline(served: Serving) -> None:
    content = bodies.seeds()["json"][1].ljust(12_000)
    with connected(served, HEAD % len(content)) as connection:
        started = time.monotonic()
        for start in range(0, len(content), 2000):  # of 1 KiB a second
            time.sleep(0.25)
            connection.sendall(content[start : start + 2000])
        assert connection.recv(20).startswith(b"HTTP/1.1 200 OK")
        assert time.monotonic() - started > 1.2


def test_blank_lines_are_no_headway(served: Serving) -> None:
    with connected(served, GET) as connection:
        until = time.monotonic() + 8
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK")
        with pytest.raises(ConnectionError):  # noqa: PT012
            while time.monotonic() < until:
                connection.sendall(b"\r\n")
                time.sleep(0.3)


def test_a_connection_between_requests_is_closed_after_its_time(served: Serving) -> None:
    with connected(served, GET) as connection:
        started = time.monotonic()
        assert rest(connection).endswith(b'{"status":"alive"}')
        assert 0.7 < time.monotonic() - started < 4


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
def test_headers_over_the_limit_are_431(served: Serving, end: bytes) -> None:
    with connected(served, b"GET /livez HTTP/1.1\r\nHost: x\r\nLong: " + b"a" * 40_000 + end) as connection:
        refused(rest(connection), 431, "larger than 32768 bytes")


def test_a_body_in_the_headers_packet_does_not_count_as_headers(served: Serving) -> None:
    content = bodies.seeds()["json"][1].ljust(60_000)
    with connected(served, HEAD % len(content) + content) as connection:
        assert connection.recv(20).startswith(b"HTTP/1.1 200 OK")


def test_what_is_not_http_is_400_and_no_line_in_the_log(served: Serving) -> None:
    before = served.said()
    with connected(served, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03") as connection:
        refused(rest(connection), 400, "not a request of HTTP/1.1")
    assert served.said() == before


def test_an_upgrade_is_answered_as_plain_http(served: Serving) -> None:
    before = served.said()
    asked = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    with connected(served, asked) as connection:
        assert rest(connection).startswith(b"HTTP/1.1 200 OK")
    assert served.said() == before


def test_who_does_not_take_his_answer_is_dropped(served: Serving) -> None:
    array = npy(np.zeros((2500, 2500, 3), np.uint8))  # its answer is too large for any buffer
    head = b"POST /v1/models/negative/denoise HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-npy\r\n"
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((HOST, served.port))
        connection.settimeout(10)
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(array) + array)
        assert connection.recv(20).startswith(b"HTTP/1.1 200 OK")
        time.sleep(1.5)
        assert len(rest(connection)) < len(array)


def test_who_takes_it_at_the_pace_gets_all_of_it(served: Serving) -> None:
    array = npy(np.zeros((2500, 2500, 3), np.uint8))
    head = b"POST /v1/models/negative/denoise HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-npy\r\n"
    received = b""
    with socket.socket() as connection:
        # of a buffer of megabytes the system tells the sender only that a sixteenth is free: rarer than the deadline
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.connect((HOST, served.port))
        connection.settimeout(10)
        connection.sendall(head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(array) + array)
        for _ in range(6):
            time.sleep(0.3)
            received += connection.recv(100_000)
        received += rest(connection)
    assert len(received) > len(array)


def test_slow_clients_hold_no_place_inside(served: Serving) -> None:
    with ExitStack() as stack:
        for _ in range(30):  # of 4 places
            stack.enter_context(connected(served, HEAD % 5000 + b"["))
        with Client(served.port) as client:
            content_type, body = bodies.seeds()["npy"]
            assert all(client.ask("POST", ENCODE, body, content_type).status == 200 for _ in range(20))


def test_all_slow_connections_are_closed(served: Serving) -> None:
    content_type, body = bodies.seeds()["npy"]
    outcome = crowds.slow(served, crowds.Request(ENCODE, body, content_type), 30, deadline=0.5, seconds=0.2)
    assert "30 closed" in outcome.found, outcome.row()
    assert not any("instead of 200" in sentence for sentence in outcome.broken), outcome.row()


def test_idle_connections_make_room_for_new_ones(served: Serving) -> None:
    with ExitStack() as stack:
        crowd = [stack.enter_context(connected(served)) for _ in range(80)]  # 60 are allowed
        with Client(served.port) as client:
            content_type, body = bodies.seeds()["npy"]
            assert client.ask("POST", ENCODE, body, content_type).status == 200
        crowd[0].settimeout(0.5)
        assert rest(crowd[0]) == b""  # who came first was first to go


def test_when_all_have_requests_in_hand_newcomers_are_503_but_health_answers(served: Serving) -> None:
    with ExitStack() as stack:
        crowd = [stack.enter_context(connected(served, HEAD % 5000 + b"[")) for _ in range(60)]
        time.sleep(0.1)
        with Client(served.port) as one, Client(served.port) as other:
            content_type, body = bodies.seeds()["npy"]
            answer = one.ask("POST", ENCODE, body, content_type)
            assert answer.status == 503
            assert "60 connections have requests in progress" in json.loads(answer.body)["detail"]
            assert other.ask("GET", "/livez").status == 200
            assert other.ask("GET", "/readyz").status == 200
        refused(rest(crowd[0]), 408)  # those who were there first are not disturbed
