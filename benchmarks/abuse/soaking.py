"""Requests of mixed kinds, very many: memory stays where it was.

good and bad requests in turns, some clients that leave -> resident memory before and after
"""

import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.abuse.report import Outcome
from benchmarks.abuse.serving import HOST, MIB, Client, Serving

GROWTH = 20 * MIB
CLIENTS = 4


@dataclass(frozen=True)
class Kind:
    """A request and the statuses that are right; `leaves`: the client hangs up in the middle of its body."""

    method: str
    path: str
    body: bytes | None
    content_type: str
    statuses: tuple[int, ...]
    leaves: bool = False


def soak(served: Serving, kinds: Sequence[Kind], total: int, warm: int) -> Outcome:
    """`warm` requests, then `total` of `kinds` in turns by CLIENTS clients; growth is counted over the latter."""
    started, statuses, broken = time.perf_counter(), Counter[str](), []
    lock = threading.Lock()

    def ask(numbers: range) -> None:
        seen, wrong = Counter[str](), []
        with Client(served.port) as client:
            for number in numbers:
                kind = kinds[number % len(kinds)]
                if kind.leaves:
                    _leave(served.port, kind)
                    seen["left"] += 1
                    continue
                answer = client.try_to(kind.method, kind.path, kind.body, kind.content_type)
                seen[str(answer.status)] += 1
                if answer.status not in kind.statuses:
                    wrong.append(f"{kind.method} {kind.path}: {answer.status} {answer.body[:100]!r}")
        with lock:
            statuses.update(seen)
            broken.extend(wrong)

    def all_ask(count: int) -> None:
        threads = [threading.Thread(target=ask, args=(range(i, count, CLIENTS),)) for i in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    all_ask(warm)
    statuses.clear()
    before = served.memory
    all_ask(total)
    growth = served.memory - before
    if growth > GROWTH:
        broken.insert(0, f"grew by {growth / MIB:.0f} MiB")
    seconds = time.perf_counter() - started
    found = f"{dict(sorted(statuses.items()))}; {before / MIB:.0f} MiB before"
    return Outcome("soak: mixed requests", f"{total:,}", found, seconds, growth, broken[:3])


def _leave(port: int, kind: Kind) -> None:
    """Half of a body, then gone."""
    body = kind.body or b""
    head = f"{kind.method} {kind.path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind.content_type}\r\n"
    with socket.create_connection((HOST, port)) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[: len(body) // 2])
