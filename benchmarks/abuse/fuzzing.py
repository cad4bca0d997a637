"""Mutated bodies and bombs: each is refused or answered, nothing fails, hangs or grows.

mutants -> the operations that take them -> statuses        bombs -> statuses, seconds, growth
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence

from benchmarks.abuse import bodies
from benchmarks.abuse.bodies import Bomb
from benchmarks.abuse.report import Outcome
from benchmarks.abuse.serving import MIB, Answer, Client, Serving

GROWTH = 20 * MIB
HANG = 10.0  # seconds that no refusal takes
BOMB_SECONDS = 0.05
SERVER_ERROR = 500


def fuzz(served: Serving, paths: Mapping[str, Sequence[str]], total: int, seed: int = 0) -> Outcome:
    """`total` mutants of all kinds, in turns to the kind's paths; growth is counted after the first tenth."""
    started, statuses, broken = time.perf_counter(), Counter[str](), []
    kinds = list(paths)
    streams = {kind: bodies.mutants(kind, -(-total // len(kinds)), seed) for kind in kinds}
    memory = served.memory
    with Client(served.port, HANG) as client:
        for number in range(total):
            kind = kinds[number % len(kinds)]
            path = paths[kind][number // len(kinds) % len(paths[kind])]
            answer = client.try_to("POST", path, next(streams[kind]), bodies.seeds()[kind][0])
            statuses[f"{answer.status // 100}xx" if answer.status else "none"] += 1
            if answer.status == 0 or answer.status >= SERVER_ERROR:
                broken.append(f"mutant {number} ({kind}, {path}): {_told(answer)}")
            if number == total // 10:
                memory = served.memory
        growth = served.memory - memory
        broken += _health(client)
    if growth > GROWTH:
        broken.append(f"grew by {growth / MIB:.0f} MiB")
    found = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
    return Outcome("fuzzing: mutated bodies", f"{total:,}", found, time.perf_counter() - started, growth, broken[:5])


def drop_bombs(
    served: Serving, paths: Mapping[str, Sequence[str]], bombs: Sequence[Bomb], seconds: float = BOMB_SECONDS
) -> Outcome:
    """Each bomb three times to each path; the quickest counts, since others are on this machine too.

    Growth is of one bomb at one path; the row states that of all together.
    """
    started, broken = time.perf_counter(), []
    slowest, count = (0.0, ""), 0
    with Client(served.port, HANG) as client:
        for kind, (content_type, good) in bodies.seeds().items():  # first uses load libraries
            for path in paths.get(kind, ()):
                client.try_to("POST", path, good, content_type)
        before = served.memory
        for bomb in bombs:
            for path in paths[_kind(bomb)]:
                resting = served.memory
                answers = [client.try_to("POST", path, bomb.body, bomb.content_type) for _ in range(3)]
                count += len(answers)
                quickest = min(answer.seconds for answer in answers)
                slowest = max(slowest, (quickest, bomb.name))
                wrong = [answer for answer in answers if answer.status not in bomb.statuses]
                if wrong:
                    broken.append(f"{bomb.name} at {path}: {_told(wrong[0])}")
                if quickest > seconds:
                    broken.append(f"{bomb.name} at {path}: {quickest * 1000:.0f} ms")
                grown = served.memory - resting
                if grown > GROWTH:
                    broken.append(f"{bomb.name} at {path}: grew by {grown / MIB:.0f} MiB")
        growth = served.memory - before
        broken += _health(client)
    found = f"all refused or read; slowest {slowest[0] * 1000:.0f} ms ({slowest[1]})"
    return Outcome(f"bombs: {len(bombs)} kinds", f"{count:,}", found, time.perf_counter() - started, growth, broken)


def _kind(bomb: Bomb) -> str:
    media = {content_type: kind for kind, (content_type, _) in bodies.seeds().items()}
    return media.get(bomb.content_type, "png")


def _told(answer: Answer) -> str:
    return f"{answer.status} after {answer.seconds:.1f} s: {answer.body[:150]!r}"


def _health(client: Client) -> list[str]:
    health = client.try_to("GET", "/livez")
    return [] if health.status == 200 else [f"afterwards /livez: {_told(health)}"]
