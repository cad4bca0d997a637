"""Encode of many files in one form, a line for each as soon as it is ready: Accept: application/x-ndjson."""

import asyncio
import base64
import io
import itertools
import json
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from service.api.v1 import ndjson
from service.app import create_app
from service.client import AsyncClient, Client, Denoised, Encoded, ServiceProblem
from service.inference import tiled
from service.settings import Settings
from tests.service.http import IMAGE, LATENT, npy, picture, refused, url
from tests.service.pdf_files import SMOOTH, page_sizes, write_pdf
from tests.service.test_client import asked

LINES = {"Accept": "application/x-ndjson"}
Files = list[tuple[str, tuple[str, bytes]]]


def files(count: int) -> Files:
    return [("image", (f"{number}.png", picture(np.full((28, 28), number, np.uint8)))) for number in range(count)]


def lines(response: Any) -> dict[int, dict[str, Any]]:
    results = [json.loads(line) for line in response.text.splitlines()]
    assert len({line["index"] for line in results}) == len(results), "one line for a file"
    return {line["index"]: line for line in results}


def test_each_file_is_a_line_and_a_bad_one_ends_no_other(client: TestClient) -> None:
    parts = [
        ("image", ("a.png", picture())),
        ("image", ("broken.png", picture()[:60])),
        ("image", ("two.npy", npy(np.stack([IMAGE, 255 - IMAGE])))),
        ("image", ("wrong size.png", picture(IMAGE[:20]))),
        ("image", ("note.txt", b"no picture")),
        ("image", ("ü.png", picture(IMAGE[:, ::-1]))),
    ]
    response = client.post(url("encode"), files=parts, headers=LINES)
    assert response.headers["content-type"] == "application/x-ndjson"
    assert (response.headers["model-name"], response.headers["model-version"]) == ("small", "2")
    assert "content-length" not in response.headers
    results = lines(response)
    assert {index: line["name"] for index, line in results.items()} == {n: file[0] for n, (_, file) in enumerate(parts)}
    np.testing.assert_array_equal(np.float32(results[0]["latents"]), LATENT[None])
    assert np.shape(results[2]["latents"]) == (2, 32)
    problems = {index: (line["problem"]["status"], line["problem"]["detail"]) for index, line in results.items()
                if "problem" in line}  # fmt: skip
    assert {index: status for index, (status, _) in problems.items()} == {1: 422, 3: 422, 4: 415}
    assert problems[3][1].startswith("the file is 28x20, small takes 28x28")
    fitted = lines(client.post(f"{url('encode')}?fit=stretch", files=parts, headers=LINES))
    assert sorted(index for index, line in fitted.items() if "problem" in line) == [1, 4]
    assert (client.app.services.admission.requests, client.app.services.admission.pixels) == (0, 0)  # type: ignore[attr-defined]


def test_what_is_wrong_with_the_whole_is_a_refusal(client: TestClient) -> None:
    refused(client.post(url("encode"), files=[("file", ("a.png", b"x"))], headers=LINES), 422, "'file'")
    refused(client.post(url("encode"), files=files(201), headers=LINES), 413, "more than 200 parts")
    refused(client.post(url("encode", "nope"), files=files(2), headers=LINES), 404, "no model 'nope'")
    refused(client.post(url("encode"), content=picture(), headers=LINES), 406, "encode answers application/json")
    refused(client.post(url("reconstruct"), files=files(2), headers=LINES), 406, "application/x-ndjson cannot be")
    plain = client.post(
        url("encode"), files=files(2), headers={"Accept": "application/json, application/x-ndjson;q=0.5"}
    )
    assert np.shape(plain.json()["latents"]) == (2, 32)
    admission = client.app.services.admission  # type: ignore[attr-defined]
    admission.requests += admission.max_requests
    refused(client.post(url("encode"), files=files(2), headers=LINES), 429, "requests are inside")
    admission.requests -= admission.max_requests


def test_openapi_describes_a_line(client: TestClient) -> None:
    answer = client.get("/openapi.json").json()["paths"]["/v1/models/{name}/encode"]["post"]["responses"]["200"]
    schema = answer["content"]["application/x-ndjson"]["schema"]
    results = {"latents", "scaled", "indices", "values", "image", "media_type", "dropped_metadata", "outputs"}
    reports = {"progress", "seconds_left", "page", "pages", "before", "after"}
    assert set(schema["properties"]) == {"index", "name", "problem", *results, *reports}
    assert "#/components/schemas/Problem" in json.dumps(schema)


denoise_tiles = tiled.denoise
item_numbers = itertools.count()


def denoise_slowly(*arguments: Any, **options: Any) -> None:
    """Work items end at different times, each many intervals of reports after the one before."""
    time.sleep(0.05 * (1 + next(item_numbers) % 3))
    denoise_tiles(*arguments, **options)


def test_lines_of_progress_come_before_the_result_if_they_are_asked_for(
    denoisers: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ndjson, "REPORT_INTERVAL", 0.001)
    monkeypatch.setattr(tiled, "denoise", denoise_slowly)
    pixels = np.random.default_rng(0).integers(0, 256, (300, 300), dtype=np.uint8)
    parts = [("image", ("a.png", picture(pixels))), ("image", ("broken.png", picture()[:60]))]
    for strength in ("0.5", "1.5"):
        target = f"/v1/models/page/denoise?strength={strength}"
        response = denoisers.post(f"{target}&report=progress", files=parts, headers=LINES)
        assert response.headers["x-accel-buffering"] == "no"
        everything = [json.loads(line) for line in response.text.splitlines()]
        fractions = [line["progress"] for line in everything if line["index"] == 0 and "progress" in line]
        assert fractions[0] == 0
        assert fractions == sorted(fractions)
        assert len(set(fractions)) >= 3
        assert max(fractions) <= 1
        assert any(line.get("seconds_left", -1) >= 0 for line in everything)
        final = {line["index"]: line for line in everything if "image" in line or "problem" in line}
        assert everything.index(final[0]) > max(
            i for i, line in enumerate(everything) if line.get("progress") and not line["index"]
        )
        assert final[1]["problem"]["status"] == 422
        assert base64.b64decode(final[0]["image"]) == denoisers.post(target, files=parts[:1]).content


def test_each_page_of_a_tiff_and_of_a_pdf_is_a_line(denoisers: TestClient) -> None:
    scans = [np.random.default_rng(n).integers(0, 256, (40, 50 + n), dtype=np.uint8) for n in range(3)]
    first, *others = [Image.fromarray(scan) for scan in scans]
    buffer = io.BytesIO()
    first.save(buffer, "TIFF", save_all=True, append_images=others)
    pdf = write_pdf((SMOOTH, (40, 60)), (SMOOTH, (50, 30)))
    parts = [("image", ("scan.tif", buffer.getvalue())), ("image", ("scan.pdf", pdf))]
    target = "/v1/models/grey-negative/denoise"
    everything = [
        json.loads(line)
        for line in denoisers.post(f"{target}?report=pages", files=parts, headers=LINES).text.splitlines()
    ]
    pages = [[line for line in everything if line["index"] == index and "page" in line] for index in (0, 1)]
    assert [(line["page"], line["pages"]) for line in pages[0]] == [(1, 3), (2, 3), (3, 3)]
    assert [(line["page"], line["pages"]) for line in pages[1]] == [(1, 2), (2, 2)]
    for line, scan in zip(pages[0], scans, strict=True):
        before, after = (
            np.asarray(Image.open(io.BytesIO(base64.b64decode(line[k])))).astype(int) for k in ("before", "after")
        )
        assert np.abs(before - scan).mean() < 3  # JPEG
        assert np.abs(after - (255 - scan)).mean() < 3
    results = {line["index"]: line for line in everything if "image" in line}
    assert results[0]["media_type"] == "image/tiff"
    assert base64.b64decode(results[0]["image"]) == denoisers.post(target, files=parts[:1]).content
    assert results[1]["media_type"] == "application/pdf"
    assert page_sizes(base64.b64decode(results[1]["image"])) == [(40, 60), (50, 30)]
    admission = denoisers.app.services.admission  # type: ignore[attr-defined]
    assert (admission.requests, admission.pixels, admission.bytes) == (0, 0, 0)


def test_a_report_is_for_lines_of_denoise(client: TestClient) -> None:
    whole = client.post(url("denoise", "negative") + "?report=progress", files={"image": picture()})
    refused(whole, 422, "application/x-ndjson")
    refused(
        client.post(url("encode") + "?report=progress", files=files(1), headers=LINES), 422, "report is for denoise"
    )
    refused(client.post(url("denoise", "negative") + "?report=all", files=files(1), headers=LINES), 422, "'pages'")


# --- while it is sent -----------------------------------------------------------------------------------------------

Encode = Callable[..., Awaitable[Any]]


class Caller:
    """An ASGI client that sees every line as it comes, and may be slow, or leave."""

    def __init__(self, models: Path, count: int, **headers: str) -> None:
        request = httpx2.Request("POST", "http://here/", files=files(count), headers={**LINES, **headers})
        self._body = request.read()
        self._scope = {
            "type": "http", "method": "POST", "path": url("encode"), "query_string": b"", "http_version": "1.1",
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
        }  # fmt: skip
        self._models = models
        self.lines: list[dict[str, Any]] = []
        self.came = asyncio.Event()
        self.takes = asyncio.Event()
        self.takes.set()
        self.leaves = asyncio.Event()
        self.is_complete = False

    async def ask(self) -> None:
        """Until the answer is over; what the request held is given back."""
        app = create_app(Settings(models=self._models, watch=0, workers=1), trusted=True)
        bodies = iter([{"type": "http.request", "body": self._body, "more_body": False}])

        async def receive() -> Any:
            for message in bodies:
                return message
            await self.leaves.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message.get("body"):
                self.lines.append(json.loads(message["body"]))
                self.came.set()
            self.is_complete |= message["type"] == "http.response.body" and not message.get("more_body", False)
            await self.takes.wait()

        async with app.fallback.router.lifespan_context(app.fallback), asyncio.timeout(20):
            await app(self._scope, receive, send)
            admission = app.services.admission
            assert (admission.requests, admission.bytes, admission.pixels) == (0, 0, 0)


@pytest.fixture
def encode(monkeypatch: pytest.MonkeyPatch) -> Callable[[Encode], Encode]:
    """Puts another in place of what encodes one file; returns the real one."""

    def replace(replacement: Encode) -> Encode:
        real = ndjson._process_file
        monkeypatch.setattr(ndjson, "_process_file", replacement)
        return real

    return replace


def test_a_line_goes_out_when_it_is_ready_and_not_when_all_are(
    models: Path, encode: Callable[[Encode], Encode]
) -> None:
    async def run() -> None:
        caller = Caller(models, 5)

        async def first_is_slow(work: ndjson.FileStream, index: int, permit: Any, deadline: Any, *rest: Any) -> Any:
            if index == 0:
                await caller.came.wait()  # for a line of another; for ever, if lines waited for each other
            return await real(work, index, permit, deadline, *rest)

        real = encode(first_is_slow)
        await caller.ask()
        assert caller.lines[0]["index"] != 0
        assert sorted(line["index"] for line in caller.lines) == [0, 1, 2, 3, 4]
        assert caller.is_complete

    asyncio.run(run())


def test_a_bug_with_one_file_is_its_line(
    models: Path, encode: Callable[[Encode], Encode], caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> list[dict[str, Any]]:
        async def second_fails(work: ndjson.FileStream, index: int, permit: Any, deadline: Any, *rest: Any) -> Any:
            if index == 1:
                raise ZeroDivisionError("the secret")
            return await real(work, index, permit, deadline, *rest)

        real = encode(second_fails)
        caller = Caller(models, 3)
        await caller.ask()
        return caller.lines

    results = {line["index"]: line for line in asyncio.run(run())}
    assert results[1]["problem"]["status"] == 500
    assert "secret" not in json.dumps(results)
    assert "the secret" in caplog.text
    assert "latents" in results[0]
    assert "latents" in results[2]


def test_files_that_are_not_done_in_time_say_so(models: Path, encode: Callable[[Encode], Encode]) -> None:
    async def run() -> Caller:
        async def last_never_ends(work: ndjson.FileStream, index: int, permit: Any, deadline: Any, *rest: Any) -> Any:
            if index >= 2:
                await asyncio.Event().wait()
            return await real(work, index, permit, deadline, *rest)

        real = encode(last_never_ends)
        caller = Caller(models, 8, **{"Request-Deadline": "0.3"})
        await caller.ask()
        return caller

    caller = asyncio.run(run())
    statuses = {line["index"]: line.get("problem", {}).get("status") for line in caller.lines}
    assert statuses == {0: None, 1: None, **dict.fromkeys(range(2, 8), 504)}
    assert caller.is_complete


def test_a_slow_reader_is_waited_for_and_who_leaves_takes_the_rest_along(
    models: Path, encode: Callable[[Encode], Encode]
) -> None:
    async def run() -> None:
        starts: list[int] = []

        async def counted(work: ndjson.FileStream, index: int, permit: Any, deadline: Any, *rest: Any) -> Any:
            starts.append(index)
            return await real(work, index, permit, deadline, *rest)

        real = encode(counted)
        caller = Caller(models, 50)
        asking = asyncio.create_task(caller.ask())
        await caller.came.wait()
        caller.takes.clear()
        await asyncio.sleep(0.3)
        at_once = 1 + 2
        assert len(starts) <= len(caller.lines) + at_once < 50
        start_count = len(starts)
        caller.leaves.set()
        await asking
        assert len(starts) == start_count
        assert not caller.is_complete

    asyncio.run(run())


# --- the client -------------------------------------------------------------------------------------------------------


def test_the_client_iterates_over_files(models: Path, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.png", "bad.png")]
    paths[0].write_bytes(picture())
    paths[1].write_bytes(b"no picture")

    async def all_of_them(client: AsyncClient) -> dict[str, Encoded]:
        with pytest.raises(ServiceProblem, match="no model 'nope'"):
            _ = [result async for result in client.encode_files("nope", paths)]
        return {result.name: result async for result in client.encode_files("small", paths)}

    results = asyncio.run(asked(models, all_of_them))
    np.testing.assert_array_equal(results["a.png"].latents, LATENT[None])
    assert results["bad.png"].latents is None
    assert results["bad.png"].problem.status == 415


def test_the_client_sends_files_of_any_name(models: Path, tmp_path: Path) -> None:
    names = [b"\xff.png", b"x" * 251 + b".png", b'two\nlines".png', b"\xed\xb2\x80.png", b"-o"]
    paths = [tmp_path / os.fsdecode(name) for name in names]
    for path in paths:
        path.write_bytes(picture())

    async def encode(client: AsyncClient) -> dict[int, Encoded]:
        return {result.index: result async for result in client.encode_files("small", paths)}

    results = asyncio.run(asked(models, encode))
    assert [results[index].name for index in range(len(paths))] == [path.name for path in paths]
    assert all(result.problem is None for result in results.values())


def test_the_blocking_client_tries_again_and_then_iterates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("service.client.time.sleep", pauses.append)
    (tmp_path / "a.png").write_bytes(picture())
    line = {"index": 0, "name": "a.png", "latents": [[1.5, 2]]}
    outcomes = [httpx2.Response(429, headers={"Retry-After": "7"}), httpx2.Response(200, text=json.dumps(line) + "\n")]
    bodies: list[bytes] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        bodies.append(request.read())
        return outcomes.pop(0)

    client = Client()
    client._http = httpx2.Client(base_url="http://here", transport=httpx2.MockTransport(handler))
    (result,) = client.encode_files("small", [tmp_path / "a.png"], fit="contain")
    assert result.latents is not None
    np.testing.assert_array_equal(result.latents, [[1.5, 2]])
    assert pauses == [7]
    assert all(picture() in body for body in bodies)


def test_many_files_are_denoised_in_one_form(denoisers: TestClient, tmp_path: Path) -> None:
    sizes = {"a.png": (30, 41), "b.png": (64, 50), "broken.png": (20, 20), "c.jpg": (25, 33)}
    contents = {}
    for name, size in sizes.items():
        form = "JPEG" if name.endswith("jpg") else "PNG"
        contents[name] = picture(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8), form)
    contents["broken.png"] = contents["broken.png"][:80]
    array = np.random.default_rng(1).integers(0, 256, (2, 16, 16, 1), dtype=np.uint8)
    contents["d.npy"] = npy(array)
    parts = [("image", (name, content)) for name, content in contents.items()]
    target = "/v1/models/page/denoise?strength=0.5"
    results = lines(denoisers.post(target, files=parts, headers=LINES))
    for index, (name, content) in enumerate(contents.items()):
        line = results[index]
        assert line["name"] == name
        alone = denoisers.post(target, files=[("image", (name, content))])
        if name == "broken.png":
            assert (line["problem"]["status"], line["problem"]["detail"]) == (422, alone.json()["detail"].replace(
                "image cannot", "the file cannot"
            ))  # fmt: skip
        elif name == "d.npy":
            assert np.shape(line["outputs"]) == array.shape
        else:
            assert line["media_type"] == alone.headers["content-type"]
            assert base64.b64decode(line["image"]) == alone.content
    admission = denoisers.app.services.admission  # type: ignore[attr-defined]
    assert (admission.requests, admission.pixels) == (0, 0)


def test_the_client_reads_the_denoised_files(models: Path, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.png", "broken.png", "c.npy")]
    for path, content in zip(paths, (picture(), picture()[:60], npy(IMAGE[None])), strict=True):
        path.write_bytes(content)

    async def work(client: AsyncClient) -> tuple[dict[int, Denoised], bytes]:
        found = {result.index: result async for result in client.denoise_files("negative", paths)}
        return found, await client.denoise("negative", paths[0])

    found, alone = asyncio.run(asked(models, work))
    assert [found[index].name for index in range(3)] == ["a.png", "broken.png", "c.npy"]
    assert (found[0].image, found[0].media_type, found[0].problem) == (alone, "image/png", None)
    assert found[1].image is None
    assert found[1].problem is not None
    assert found[1].problem.status == 422
    assert found[2].image is not None
    assert np.load(io.BytesIO(found[2].image)).shape[0] == 1
