"""SIGTERM under load: a client that honours readiness loses no request, and the service leaves with 0.

clients ask -> SIGTERM -> /readyz says 503 -> clients go elsewhere -> all that was asked is answered
"""

import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.abuse.crowds import Request
from benchmarks.abuse.report import Outcome
from benchmarks.abuse.serving import Answer, Client, Serving, serving

POLL = 0.1  # seconds between two looks at readiness, as a balancer has it
LEAVES = 20.0  # seconds after the drain in which the process must have ended
ENDS = 5.0  # seconds after the drain and the deadline in which it must have ended, whatever its threads do


class Balancer:
    """Clients that ask without a pause while /readyz, polled every POLL seconds, says 200."""

    def __init__(self, port: int, requests: Sequence[Request], clients: int) -> None:
        self.statuses = Counter[int]()
        self.lost: list[str] = []
        self._port, self._requests = port, requests
        self._ready, self._lock = True, threading.Lock()
        self._threads = [threading.Thread(target=self._poll)]
        self._threads += [threading.Thread(target=self._ask, args=(number,)) for number in range(clients)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _poll(self) -> None:
        while self._ready:
            with Client(self._port, 10) as client:
                self._ready = client.try_to("GET", "/readyz").status == 200
            time.sleep(POLL)

    def _ask(self, number: int) -> None:
        with Client(self._port) as client:
            while self._ready:
                request = self._requests[number % len(self._requests)]
                started = time.monotonic()
                answer = request.by(client)
                number += 1
                with self._lock:
                    self.statuses[answer.status] += 1
                    if answer.status not in (200, 429):
                        self.lost.append(_told(request, answer, started))


def _told(request: Request, answer: Answer, started: float) -> str:
    return f"{request.path} asked at {started:.2f} got {answer.status} {answer.body[:100]!r}"


def sigterm(
    requests: Sequence[Request], rounds: int, drain: float, models: Path, clients: int = 16, before: float = 1.0
) -> Outcome:
    """`rounds` times: start, load for `before` seconds, SIGTERM, wait."""
    started, statuses, broken, slowest = time.perf_counter(), Counter[int](), [], 0.0
    for number in range(1, rounds + 1):
        with serving({"drain": drain}, models=models) as served:
            balancer = Balancer(served.port, requests, clients)
            balancer.start()
            time.sleep(before)
            seconds, code = leave(served, drain + LEAVES)
            balancer.join()
            said = served.said()
        slowest = max(slowest, seconds)
        statuses += balancer.statuses
        broken += [f"round {number}: {lost}" for lost in balancer.lost[:2]]
        if code != 0:
            broken.append(f"round {number}: exit code {code}")
        if seconds < drain:
            broken.append(f"round {number}: left after {seconds:.1f} s, before the drain's end")
        if "Traceback" in said:
            broken.append(f"round {number}: a traceback in its log")
    found = (
        f"{sum(statuses.values()):,} requests: {dict(sorted(statuses.items()))}; left with 0 within {slowest:.1f} s "
        f"(drain {drain:g} s)"
    )
    return Outcome("SIGTERM under load", f"{rounds} rounds", found, time.perf_counter() - started, None, broken[:5])


def leave(served: Serving, patience: float) -> tuple[float, int | None]:
    """SIGTERM -> (seconds until it ended, exit code or None if it did not)."""
    sent = time.monotonic()
    served.process.send_signal(signal.SIGTERM)
    try:
        code: int | None = served.process.wait(patience)
    except subprocess.TimeoutExpired:
        code = None
    return time.monotonic() - sent, code


def stuck(
    request: Request, good: Request, models: Path, drain: float, deadline: float, module: str = "service"
) -> Outcome:
    """As many requests that never end as there are workers: after their deadline others are served, SIGTERM ends it.

    Args:
        request: does not end by itself.
        good: must be answered 200 before and after.
        module: of the service.
    """
    started, broken = time.perf_counter(), []
    settings = {"drain": drain, "workers": 2, "deadline": deadline}
    with serving(settings, module=module, models=models) as served:
        with Client(served.port, 120) as client:
            before = good.by(client)
            statuses = _ask_at_once(served.port, request, 2)
            time.sleep(1)
            after = good.by(client)
        beside = _ask_later(served.port, request)
        seconds, code = leave(served, drain + deadline + LEAVES)
        beside.join()
    if (before.status, after.status) != (200, 200):
        broken.append(f"a good request was answered {before.status}, and {after.status} afterwards")
    if set(statuses) - {504, 422, 413, 500}:
        broken.append(f"the endless ones were answered {dict(statuses)}")
    if code != 0 or seconds > drain + deadline + ENDS:
        broken.append(f"SIGTERM took {seconds:.1f} s, exit code {code}")
    found = (
        f"two at once answered {dict(statuses)}; a good one {after.seconds * 1000:.0f} ms after them, "
        f"{before.seconds * 1000:.0f} before; SIGTERM beside another: {seconds:.1f} s (drain {drain:g}, its deadline "
        f"{deadline:g})"
    )
    return Outcome("work without end", "3", found, time.perf_counter() - started, None, broken)


def _ask_at_once(port: int, request: Request, count: int) -> Counter[int]:
    statuses = Counter[int]()

    def ask() -> None:
        with Client(port, 120) as client:
            statuses[request.by(client).status] += 1

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def _ask_later(port: int, request: Request) -> threading.Thread:
    """The request is sent and under way when this returns."""
    thread = threading.Thread(target=_ask_at_once, args=(port, request, 1))
    thread.start()
    time.sleep(0.5)
    return thread
