"""Many clients at once: slow ones beside a good one, and more than the service can serve.

slow clients -> closed by their deadline, a good client's p99 beside them        five times the load -> 200 or 429
"""

import http.client
import multiprocessing
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from benchmarks.abuse.report import Outcome
from benchmarks.abuse.serving import HOST, Answer, Client, Serving, quantile

DRIP = 0.5  # seconds between two bytes of a slow client
WAYS = 3  # to be slow: to say nothing, headers by bytes, a body by bytes
SLACK = 2.0  # seconds after a deadline for a connection to be seen as closed
TWICE = 2.0  # times its own p99 that a good client may wait beside slow ones


@dataclass(frozen=True)
class Request:
    """What a good client sends."""

    path: str
    body: bytes
    content_type: str

    def by(self, client: Client) -> Answer:
        return client.try_to("POST", self.path, self.body, self.content_type)


# --- slow clients ----------------------------------------------------------------------------------------


def crawl(port: int, count: int, path: str, patience: float, told: "Connection") -> None:
    """Open `count` slow connections, in turns of three ways; tell (way, seconds until closed or None) of each."""
    head = f"POST {path} HTTP/1.1\r\nHost: slow\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n"
    selector = selectors.DefaultSelector()
    opened: dict[socket.socket, tuple[int, float]] = {}
    ended: dict[socket.socket, float] = {}
    for number in range(count):
        connection = socket.create_connection((HOST, port))
        connection.setblocking(False)
        way = number % WAYS
        opened[connection] = (way, time.monotonic())
        selector.register(connection, selectors.EVENT_READ, connection)
        if way == 1:
            connection.send(b"P")
        if way == 2:
            connection.send(head.encode() + b"\r\n[")
    told.send(len(opened))
    until = time.monotonic() + patience
    drip = time.monotonic() + DRIP
    sent = 1
    while time.monotonic() < until and len(ended) < count:
        for key, _ in selector.select(max(0.0, drip - time.monotonic())):
            connection = key.data
            try:
                gone = not connection.recv(65536)
            except OSError:
                gone = True
            if gone:
                ended[connection] = time.monotonic() - opened[connection][1]
                selector.unregister(connection)
                connection.close()
        if time.monotonic() >= drip:
            drip += DRIP
            for connection, (way, _) in opened.items():
                if connection not in ended and way:
                    try:
                        connection.send(head[sent % len(head)].encode() if way == 1 else b"0")
                    except OSError:  # closed; the selector will tell
                        continue
            sent += 1
    told.send([(way, ended.get(connection)) for connection, (way, _) in opened.items()])


def slow(served: Serving, request: Request, count: int, deadline: float, seconds: float) -> Outcome:
    """`count` slow connections, each to be closed after `deadline`; the good client is measured before, beside, after.

    Args:
        deadline: of headers and of a body, as the service was started with.
        seconds: of measuring before and after each.
    """
    started, broken = time.perf_counter(), []
    _latencies(served.port, request, lambda _: time.perf_counter() - started < 1)
    before, _ = _measured(served.port, request, seconds)
    ours, theirs = multiprocessing.Pipe()
    patience = deadline + SLACK + count / 100
    context = multiprocessing.get_context("spawn")
    crawler = context.Process(target=crawl, args=(served.port, count, request.path, patience, theirs))
    crawler.start()
    ours.recv()
    beside, bad = _latencies(served.port, request, lambda _: not ours.poll())
    ends: list[tuple[int, float | None]] = ours.recv()
    crawler.join()
    after, _ = _measured(served.port, request, seconds)
    still = sum(seconds is None for _, seconds in ends)
    if still:
        broken.append(f"{still} of {count} were still open after {patience:.0f} s")
    if bad:
        broken.append(f"the good client got {dict(bad)} instead of 200")
    alone, crowded = max(quantile(before, 0.99), quantile(after, 0.99)), quantile(beside, 0.99)
    if crowded > TWICE * alone:
        broken.append(f"its p99 was {crowded / alone:.1f} x")
    last = max((seconds for _, seconds in ends if seconds is not None), default=float("nan"))
    found = (
        f"{count - still} closed, the last after {last:.1f} s (deadline {deadline:g}); a good client's p99 "
        f"{crowded * 1000:.2f} ms beside them ({len(beside)} requests), {alone * 1000:.2f} ms alone"
    )
    return Outcome("slow connections", f"{count}", found, time.perf_counter() - started, None, broken)


def _measured(port: int, request: Request, seconds: float) -> tuple[list[float], Counter[int]]:
    until = time.perf_counter() + seconds
    return _latencies(port, request, lambda _: time.perf_counter() < until)


def _latencies(port: int, request: Request, go_on: Callable[[int], bool]) -> tuple[list[float], Counter[int]]:
    """One request after another -> seconds of each that was answered 200, and the other statuses."""
    seconds: list[float] = []
    others = Counter[int]()
    with Client(port) as client:
        while go_on(len(seconds)):
            answer = request.by(client)
            if answer.status == http.client.OK:
                seconds.append(answer.seconds)
            else:
                others[answer.status] += 1
    return seconds, others


# --- a graph that answers NaN for some -----------------------------------------------------------------------


def mixed_answers(served: Serving, bad: Request, good: Request, seconds: float, clients: int = 8) -> Outcome:
    """Every other client sends what the graph answers with NaN: these get 500, the others their own 200."""
    started, until = time.perf_counter(), time.perf_counter() + seconds
    load: dict[bool, Load] = {True: Load(), False: Load()}

    def ask(is_bad: bool) -> None:
        with Client(served.port) as client:
            while time.perf_counter() < until:
                load[is_bad].add(time.perf_counter(), (bad if is_bad else good).by(client))

    threads = [threading.Thread(target=ask, args=(number % 2 == 0,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses = {is_bad: Counter(answer.status for _, answer in load[is_bad].answers) for is_bad in load}
    bodies = {answer.body for _, answer in load[False].answers}
    broken = []
    if set(statuses[True]) != {500} or any(b"null" in answer.body for _, answer in load[True].answers):
        broken.append(f"the bad ones were answered {dict(statuses[True])}")
    if set(statuses[False]) != {200} or len(bodies) != 1:
        broken.append(f"the good ones were answered {dict(statuses[False])}, {len(bodies)} different answers")
    found = f"{statuses[True][500]:,} answered 500, {statuses[False][200]:,} good ones beside them 200"
    count = f"{sum(len(one.answers) for one in load.values()):,}"
    return Outcome("a graph that answers NaN", count, found, time.perf_counter() - started, None, broken)


# --- overload --------------------------------------------------------------------------------------------


@dataclass
class Load:
    """What many clients saw; one lock for all."""

    answers: list[tuple[float, Answer]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, at: float, answer: Answer) -> None:
        with self.lock:
            self.answers.append((at, answer))


def capacity(port: int, request: Request, seconds: float, clients: int = 4) -> float:
    """Requests a second that are answered 200 when `clients` ask without a pause."""
    counts: list[int] = []

    def ask() -> None:
        counts.append(len(_measured(port, request, seconds)[0]))

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


def overload(served: Serving, request: Request, times: float, seconds: float, places: int) -> Outcome:
    """`times` the capacity for `seconds`, by the clock and not by the answers; health is asked all the while.

    Args:
        places: max_requests of the service: an accepted request waits for at most so many others.
    """
    started, broken = time.perf_counter(), []
    capacity(served.port, request, 2)
    before = capacity(served.port, request, max(3.0, seconds / 6))
    load, health = Load(), Load()
    rate = times * before
    _by_the_clock(served.port, request, rate, seconds, load, health)
    after = capacity(served.port, request, max(3.0, seconds / 6))
    statuses = Counter(answer.status for _, answer in load.answers)
    accepted = [answer.seconds for _, answer in load.answers if answer.status == http.client.OK]
    unwell = Counter(answer.status for _, answer in health.answers if answer.status != http.client.OK)
    bound = 2 * places / before + 1
    if set(statuses) - {http.client.OK, http.client.TOO_MANY_REQUESTS}:
        broken.append(f"statuses {dict(statuses)}")
    if not statuses[http.client.TOO_MANY_REQUESTS]:
        broken.append("nothing was refused: this was no overload")
    if quantile(accepted, 0.99) > bound:
        broken.append(f"accepted requests' p99 is above {bound:.1f} s (twice the queue, and a second)")
    if unwell:
        broken.append(f"health answered {dict(unwell)}")
    if after < 0.8 * before:
        broken.append(f"afterwards {after:.0f} a second instead of {before:.0f}")
    healthy = [answer.seconds for _, answer in health.answers]
    found = (
        f"{rate:.0f}/s at a capacity of {before:.0f}/s: {statuses[200]} answered (p50 {quantile(accepted, 0.5):.2f} s, "
        f"p99 {quantile(accepted, 0.99):.2f} s, bound {bound:.1f}), {statuses[429]} refused with 429; "
        f"/readyz p99 {quantile(healthy, 0.99) * 1000:.0f} ms ({len(healthy)}); afterwards {after:.0f}/s"
    )
    count = f"{len(load.answers):,}"
    return Outcome(f"overload, {times:g} x capacity", count, found, time.perf_counter() - started, None, broken)


def _by_the_clock(port: int, request: Request, rate: float, seconds: float, load: Load, health: Load) -> None:
    """Requests start at `rate` whatever becomes of those before, each from a client that is free, or a new one."""
    free: list[Client] = []
    lock = threading.Lock()
    end = time.monotonic() + seconds

    def one() -> None:
        with lock:
            client = free.pop() if free else Client(port, timeout=60)
        load.add(time.monotonic(), request.by(client))
        with lock:
            free.append(client)

    def ask_health() -> None:
        with Client(port, timeout=60) as client:
            while time.monotonic() < end:
                health.add(time.monotonic(), client.try_to("GET", "/readyz"))
                time.sleep(0.1)

    threads = [threading.Thread(target=ask_health)]
    threads[0].start()
    start, number = time.monotonic(), 0
    while (now := time.monotonic()) < end:
        while number < (now - start) * rate:
            number += 1
            threads.append(threading.Thread(target=one))
            threads[-1].start()
        time.sleep(0.002)
        if len(threads) > 1000:
            threads = [thread for thread in threads if thread.is_alive()]
    for thread in threads:
        thread.join()
    for client in free:
        client.close()
