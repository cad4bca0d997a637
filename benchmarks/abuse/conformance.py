"""HTTP/1.1 by the standards of others: a public suite of requests, and a second parser beside ours.

request of gunicorn's suite -> ours -> as many requests, with these bodies, as the suite says; or refused
mutated request -> ours, h11 -> the same requests: two parsers that disagree are how requests are smuggled

Ours is service.server.connection as it is served, below an application that tells what reached it.
"""

import ast
import asyncio
import contextlib
import random
import re
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import h11
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from benchmarks.abuse.report import Outcome
from benchmarks.abuse.serving import HOST
from service.server.connection import Connection
from service.server.connection_limits import ConnectionLimits
from service.server.connection_monitor import ConnectionMonitor

SUITE = "gunicorn==27.0.1"  # its source distribution has the suite in tests/requests; MIT
FOLDER = Path("build/conformance")
SECONDS = 0.5  # until an incomplete request is given up
AT_ONCE = 50  # connections

# Where the suite asks for what is gunicorn's choice and not the standard's, or for what we choose otherwise.
CHOICES = {
    "invalid/006": "an address of 8,191 bytes; our limit is that of all headers",
    "invalid/007": "a header of 8,191 bytes",
    "invalid/008": "a header of 8,191 bytes",
    "invalid/009": "more than 100 headers; our limit is 256",
    "invalid/017": "a header of more bytes than a setting of gunicorn allows",
    "invalid/041": "two Content-Types: the last one counts",
    "invalid/chunked_05": "chunks in HTTP/1.0: taken, and the connection is closed after them (RFC 9112, 6.1)",
    "invalid/rfc9110_trailer_forbidden_host_01": "a trailer Host: dropped, as all trailers are",
    "invalid/rfc9112_leading_crlf_02": "two blank lines before a request: ignored (RFC 9112, 2.2: at least one)",
    "valid/005": "a target with a fragment: RFC 9112, 3.2 has none",
    "valid/013": "a chunk extension behind a space: refused by llhttp",
    "valid/022": "HTTP/1.0 with keep-alive: the connection is closed",
    "valid/025": "gzip, chunked: no transfer coding but chunked is understood (RFC 9112, 6.1)",
    "valid/025_line": "gzip, chunked",
    "valid/029": "identity, chunked",
    "valid/030": "identity, chunked",
    "valid/rfc9112_smuggle_gzip_chunked_01": "gzip, chunked",
    "valid/rfc9112_smuggle_te_identity_chunked_01": "identity, chunked",
    "valid/099": "its Content-Length is larger than its body",
    "valid/031": "an unknown method: refused by llhttp",
    "valid/rfc9112_target_absolute_userinfo_01": "user information in an address: an error (RFC 9110, 4.2.4)",
    "valid/rfc9112_target_authority_connect_01": "CONNECT: this is no proxy",
    "valid/rfc9112_target_authority_ipv6_01": "CONNECT: this is no proxy",
}

SEEDS = (
    b"GET /a?b=c HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n",
    b"GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /old HTTP/1.0\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world",
    b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n00c\r\nhello, world\r\n0\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
    b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
)
LINES = (
    b"Content-Length: 5", b"Content-Length: 0", b"Content-Length: +5", b"Content-Length: 5, 5", b"Content-Length : 5",
    b"Content-Length: 0x5", b"Content-Length: 5 ", b"content-length:5", b"Content-Length: 18446744073709551621",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: xchunked", b"Transfer-Encoding:\x0bchunked",
    b"Transfer-Encoding : chunked", b"Transfer-Encoding: chunked\r\n b", b"transfer-encoding: CHUNKED", b" folded",
    b"Transfer-Encoding: \"chunked\"", b"Transfer_Encoding: chunked", b"Transfer-Encoding", b"\tfolded: a",
    b"Host: b", b"Connection: close", b"Connection: keep-alive", b"Expect: 100-continue", b"Upgrade: websocket", b": a",
    b"a",
)  # fmt: skip
PIECES = (
    b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b";", b",", b"0", b"\x00", b"\x0b", b"\x7f", b"\xff", b"-", b"+", b"_",
    b"0x", b"1", b"f", b"\r\n\r\n", b"#", b"?", b"HTTP/1.1", b"HTTP/1.0",
)  # fmt: skip

Message = tuple[str, str, bytes]  # method, target in origin form, body


@dataclass(frozen=True)
class Case:
    """One of the suite: `bodies` of the requests that it holds (None: not stated), or it is to be refused."""

    name: str
    data: bytes
    is_valid: bool
    bodies: tuple[bytes | None, ...]


@dataclass
class Answer:
    """What our parser made of some bytes."""

    messages: list[Message] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)


# --- ours ------------------------------------------------------------------------------------------------


async def _ask_all(requests: Sequence[bytes], step: int | None) -> list[Answer]:
    """Send each on a connection of its own, in pieces of `step` bytes (None: at once); wait for the end."""
    answers: dict[int, Answer] = {}

    async def record(scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            if not message["more_body"]:
                break
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        answers[scope["client"][1]].messages.append((scope["method"], target.decode("latin-1"), body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    config = uvicorn.Config(record, lifespan="off", log_config=None, proxy_headers=False, server_header=False)
    config.timeout_keep_alive = SECONDS  # type: ignore[assignment]
    config.load()
    monitor = ConnectionMonitor(ConnectionLimits(SECONDS, SECONDS, 1024, 32 << 10, 1 << 20, 10_000))
    make = partial(Connection, monitor, config, ServerState(), {})
    server = await asyncio.get_running_loop().create_server(make, HOST, 0, backlog=1000)
    port = server.sockets[0].getsockname()[1]
    free = asyncio.Semaphore(AT_ONCE)

    async def ask(data: bytes) -> Answer:
        async with free:
            reader, writer = await asyncio.open_connection(HOST, port)
            answer = answers[writer.get_extra_info("sockname")[1]] = Answer()
            received = bytearray()

            async def receive() -> None:
                with contextlib.suppress(ConnectionError):  # closed with what we sent unread
                    while piece := await reader.read(65536):
                        received.extend(piece)

            receiver = asyncio.create_task(receive())
            with contextlib.suppress(ConnectionError):
                for start in range(0, len(data), step or len(data)):
                    writer.write(data[start : start + (step or len(data))])
                    if step is not None:
                        await writer.drain()
                        await asyncio.sleep(0)
            await receiver
            writer.close()
            answer.statuses = [int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3}) ", received) if code != b"100"]
            return answer

    found = await asyncio.gather(*(ask(data) for data in requests))
    server.close()
    return found


# --- the suite -------------------------------------------------------------------------------------------


def fetch_suite(folder: Path = FOLDER) -> Path:
    """The folder with the suite's requests; downloaded from the package index if it is not there."""
    name, version = SUITE.split("==")
    requests = folder / f"{name}-{version}" / "tests" / "requests"
    if not requests.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--no-binary",
            ":all:",
            "-d",
            str(folder),
            SUITE,
        ]
        subprocess.run(command, check=True)
        with tarfile.open(folder / f"{name}-{version}.tar.gz") as archive:
            members = [member for member in archive if "/tests/requests/" in member.name]
            archive.extractall(folder, members, filter="data")
    return requests


def read_suite(folder: Path) -> list[Case]:
    """All cases but those that need a setting of gunicorn, such as its proxy protocol."""
    cases = []
    for file in sorted(folder.glob("*/*.http")):
        source = file.with_suffix(".py").read_text()
        if "cfg.set(" in source:
            continue
        is_valid = file.parent.name == "valid"
        bodies = _expected_bodies(source) if is_valid else ()
        cases.append(Case(f"{file.parent.name}/{file.stem}", _with_host(_decode(file.read_bytes())), is_valid, bodies))
    return cases


def _decode(data: bytes) -> bytes:
    r"""The suite writes \r\n, \0, \n, \t and \xHH as text, and breaks lines where it likes."""
    data = data.replace(b"\n", b"").replace(b"\\r\\n", b"\r\n")
    data = data.replace(b"\\0", b"\0").replace(b"\\n", b"\n").replace(b"\\t", b"\t")
    return re.sub(rb"\\x([0-9A-Fa-f]{2})", lambda match: bytes([int(match[1], 16)]), data)


def _with_host(data: bytes) -> bytes:
    """gunicorn does not ask for Host: with one, a request of HTTP/1.1 is refused for its own fault only."""
    line, end, _ = data.lstrip(b"\r\n").partition(b"\r\n")
    if not line.endswith(b" HTTP/1.1") or b"\nhost:" in data.lower() or not end:
        return data
    return data.replace(b" HTTP/1.1\r\n", b" HTTP/1.1\r\nHost: a\r\n")


def _expected_bodies(source: str) -> tuple[bytes | None, ...]:
    values = {
        target.id: node.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    request = values["request"]
    items = request.elts if isinstance(request, ast.List) else [request]
    return tuple(_expected_body(values[item.id] if isinstance(item, ast.Name) else item) for item in items)


def _expected_body(request: ast.expr) -> bytes | None:
    if isinstance(request, ast.Dict):
        for key, value in zip(request.keys, request.values, strict=True):
            if isinstance(key, ast.Constant) and key.value == "body" and isinstance(value, ast.Constant):
                return value.value if isinstance(value.value, bytes) else None
    return None


def judge(case: Case, answer: Answer) -> str | None:
    """What is wrong with the answer; None if it is right."""
    accepted = [status for status in answer.statuses if status == 200]
    if not case.is_valid:
        return None if not accepted or answer.statuses[-1] >= 400 else f"not refused: {answer.statuses}"
    if len(accepted) != len(case.bodies):
        return f"{len(case.bodies)} requests, answered {answer.statuses}"
    for expected, (_, _, body) in zip(case.bodies, answer.messages, strict=False):
        if expected is not None and body != expected:
            return f"the body is {body[:40]!r}, not {expected[:40]!r}"
    return None


def suite(step: int | None = None) -> tuple[list[Case], dict[str, str]]:
    """The cases, and what is wrong with the answers to some."""
    cases = read_suite(fetch_suite())
    answers = asyncio.run(_ask_all([case.data for case in cases], step))
    wrong = {case.name: judge(case, answer) for case, answer in zip(cases, answers, strict=True)}
    return cases, {name: sentence for name, sentence in wrong.items() if sentence is not None}


# --- the other parser ------------------------------------------------------------------------------------


def parse_by_h11(data: bytes) -> list[Message]:
    """The requests that h11 takes from these bytes, before the first that it refuses or that is not whole.

    What llhttp forgives by its own choice, and RFC 9112 allows (2.2, 3), is brought in order before: blank lines before
    a request, several spaces between words.
    """
    messages: list[Message] = []
    while data := re.sub(rb"\A([A-Z]+) +([^ \r\n]+) +", rb"\1 \2 ", data.lstrip(b"\r\n")):
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
        connection.receive_data(data)
        head, body = None, b""
        try:
            while not isinstance(event := connection.next_event(), h11.EndOfMessage):
                if isinstance(event, h11.Request):
                    head = event
                elif isinstance(event, h11.Data):
                    body += bytes(event.data)
                else:
                    return messages
        except h11.ProtocolError:
            return messages
        if head is not None:
            messages.append((head.method.decode(), _origin_form(head.target).decode("latin-1"), body))
        if connection.their_state in (h11.MUST_CLOSE, h11.CLOSED):
            return messages
        data = connection.trailing_data[0]
    return messages


def _origin_form(target: bytes) -> bytes:
    path = re.sub(rb"^(?i:https?)://[^/?]*", b"", target) if not target.startswith(b"/") else target
    return re.sub(rb"^([^?]*)\?$", rb"\1", path if path.startswith(b"/") else b"/" + path)  # an empty query is none


def mutate(chance: random.Random) -> bytes:
    """One to three requests behind each other, with one to three faults."""
    data = b"".join(chance.choice(SEEDS) for _ in range(chance.randint(1, 3)))
    for _ in range(chance.randint(1, 3)):
        kind, at = chance.randrange(6), chance.randrange(len(data) + 1)
        lines = data.split(b"\r\n")
        line = chance.randrange(len(lines))
        if kind == 0:
            data = data[:at] + chance.choice(PIECES) + data[at:]
        elif kind == 1:
            data = data[:at] + data[at + chance.randint(1, 4) :]
        elif kind == 2:
            data = b"\r\n".join((*lines[:line], chance.choice(LINES), *lines[line:]))
        elif kind == 3:
            data = b"\r\n".join((*lines[:line], *lines[line : line + 1], *lines[line:]))
        elif kind == 4:
            data = data[:at] + chance.choice(PIECES) + data[at + 1 :]
        else:
            data = b"\r\n".join(lines[:line]) + chance.choice((b"\n", b"\r", b"\r\n ")) + b"\r\n".join(lines[line:])
    return data or b"\r\n"


def compare(data: bytes, answer: Answer) -> str:
    """ "same", "stricter", "looser" (we take what h11 refuses), or "different"."""
    ours, theirs = answer.messages, parse_by_h11(data)
    shared = min(len(ours), len(theirs))
    if ours[:shared] != theirs[:shared]:
        return "different"
    if len(ours) == len(theirs):
        return "same"
    return "stricter" if len(ours) < len(theirs) else "looser"


def compare_with_h11(count: int) -> tuple[Counter[str], list[str]]:
    """Verdicts on `count` mutated requests, and those of which ours took more than h11, or something else."""
    chance = random.Random(22)
    mutated = [mutate(chance) for _ in range(count)]
    verdicts, broken = Counter[str](), []
    for data, answer in zip(mutated, asyncio.run(_ask_all(mutated, None)), strict=True):
        verdict = compare(data, answer)
        verdicts[verdict] += 1
        if verdict in ("different", "looser"):
            broken.append(f"{verdict} from h11: {data!r}")
    return verdicts, broken


def conformance(count: int) -> Outcome:
    """The suite at once and by single bytes, and `count` mutated requests."""
    started, broken = time.perf_counter(), []
    cases: list[Case] = []
    for step in (None, 1):
        cases, wrong = suite(step)
        broken += [f"{name}: {sentence}" for name, sentence in wrong.items() if name not in CHOICES]
    verdicts, differences = compare_with_h11(count)
    text = (
        f"{len(cases)} cases of {SUITE.replace('==', ' ')} at once and by bytes, {len(CHOICES)} by choice otherwise; "
        f"mutated, beside h11: {', '.join(f'{number:,} {verdict}' for verdict, number in verdicts.most_common())}"
    )
    broken += differences
    return Outcome("HTTP/1.1", f"{2 * len(cases) + count:,}", text, time.perf_counter() - started, None, broken[:5])
