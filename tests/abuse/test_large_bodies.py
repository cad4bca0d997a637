"""The worst bodies and answers of each kind: no step is long, and memory stays within the formula of docs/deploy.md.

Found by `python -m benchmarks.abuse costs`, and by hand. Steps are measured in processor time of their thread, memory
as what Python and numpy allocate, so other work on the machine does not matter.
"""

import contextlib
import random
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.requests import Request

from benchmarks.abuse import bodies as seeds
from benchmarks.abuse import costs
from benchmarks.abuse.serving import serving
from service.api.v1 import body as bodies
from service.api.v1.format import V1Format
from service.api.v2.tensors import V2Format
from service.api.wire_format import WireFormat
from service.codecs import arrays, images, multipart
from service.codecs.json_documents import json_writer
from service.errors import InvalidInput, MalformedBody, TooLarge, UnsupportedMediaType
from service.inference.engine import Result
from service.inference.options import Options
from service.model import package
from service.model.runtime import Model
from tests.service import packages as doubles
from tests.service.http import npy, refused, served
from tests.service.steps import MIB, longest_step, peak_memory

SIZE = 4 * MIB
LONGEST = 0.05  # seconds of one step; 1 to 8 ms are measured on an idle machine, 0.3 s and more in one step
BYTES_PER_NUMBER = 27  # of AUTOENCODER_MAX_INSIDE_PIXELS, as docs/deploy.md has it
CONSTANT = 16 * MIB  # slices, and the objects of a frame
INFER = "/v2/models/small/infer"
FORM = "multipart/form-data; boundary=b"
FILE = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'


def fill(unit: bytes, start: bytes, end: bytes = b"", size: int = SIZE) -> bytes:
    return start + unit * ((size - len(start) - len(end)) // len(unit)) + end


def members(size: int = SIZE) -> bytes:
    return b"{" + b",".join([b'"%d":0' % number for number in range(size // 12)]) + b"}"


INPUTS, DATA = b'{"inputs":[', b'{"inputs":[{"name":"image","shape":[1,28,28,1],"datatype":"UINT8","data":['
JSON_BODIES: dict[str, Callable[[], bytes]] = {
    "numbers": lambda: fill(b"0,", INPUTS, b"0]}"),
    "real numbers": lambda: fill(b"-9e-9,", INPUTS, b"0]}"),
    "long numbers": lambda: fill(b"0.12345678901234567,", INPUTS, b"0]}"),
    "lists of one": lambda: fill(b"[0],", INPUTS, b"[0]]}"),
    "rows": lambda: fill(b"[" + b"0," * 27 + b"0],", INPUTS, b"[" + b"0," * 27 + b"0]]}"),
    "empty lists": lambda: fill(b"[],", INPUTS, b"[]]}"),
    "ragged lists": lambda: fill(b"[0],[0,0],", INPUTS, b"[0]]}"),
    "objects": lambda: fill(b'{"":0},', INPUTS, b"{}]}"),
    "empty objects": lambda: fill(b"{},", INPUTS, b"{}]}"),
    "braces and brackets": lambda: fill(b"[1}", INPUTS, b""),
    "texts": lambda: fill(b'"a",', INPUTS, b'""]}'),
    "texts of 65 bytes": lambda: fill(b'"' + b"A" * 65 + b'",', INPUTS, b'""]}'),
    "members": members,
    "depth": lambda: fill(b"[", INPUTS),
    "a number of digits": lambda: fill(b"9", INPUTS, b"]}"),
    "space": lambda: fill(b" ", INPUTS, b"]}"),
    "base64": lambda: fill(b"AAAA", b'{"inputs":"', b'"}'),
    "base64 of escapes": lambda: fill(b"\\/", b'{"inputs":"', b'"}'),
    "base64 of code points": lambda: fill(b"\\u0041", b'{"inputs":"', b'"}'),
    "a text of other letters": lambda: fill("é".encode(), b'{"inputs":"', b'"}'),
    "quotes": lambda: fill(b'\\"', b'{"inputs":"', b'"}'),
    "backslashes": lambda: fill(b"\\\\", b'{"inputs":"', b'"}'),
    "a long name": lambda: fill(b"a", b'{"', b'":0}'),
    "no end": lambda: fill(b"0,", INPUTS),
    "no JSON": lambda: fill(b"x", b""),
}
V2_BODIES: dict[str, Callable[[], bytes]] = {
    "data": lambda: fill(b"0,", DATA, b"0]}]}"),
    "nested data": lambda: fill(b"[[[0]]],", DATA, b"[[[0]]]]}]}"),
    "many inputs": lambda: fill(b"{},", INPUTS, b"{}]}"),
    "shape": lambda: fill(b"1,", b'{"inputs":[{"name":"image","shape":[', b"1]}]}"),
    "outputs": lambda: fill(b'{"name":"latent"},', b'{"outputs":[', b"{}]}"),
    "parameters": lambda: b'{"parameters":' + members() + b"}",
    "id": lambda: fill(b"a", b'{"id":"', b'","inputs":[]}'),
}
FORMS: dict[str, Callable[[], bytes]] = {
    "one file": lambda: fill(b"a", FILE, b"\r\n--b--\r\n"),
    "near misses": lambda: fill(b"\r\n--bX", FILE, b"\r\n--b--\r\n"),
    "starts of boundaries": lambda: fill(b"\r\n-", FILE, b"\r\n--b--\r\n"),
    "line breaks": lambda: fill(b"\r\n", FILE, b"\r\n--b--\r\n"),
    "parts": lambda: fill(b"\r\n" + FILE, FILE, b"\r\n--b--\r\n"),
    "a long header": lambda: fill(b"a;", b"--b\r\nContent-Disposition: ", b"\r\n--b--\r\n"),
    "many headers": lambda: fill(b"A: b\r\n", b"--b\r\n", b"\r\n--b--\r\n"),
    "no boundary": lambda: fill(b"a", b""),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = doubles.write_all(tmp_path_factory.mktemp("models"))
    return Model(package.read(folder / "small" / "1"))


def _parse(wire_format: WireFormat, body: bytes) -> int:
    """What a request does with its body; the numbers that admission reserves."""
    numbers = 0
    try:
        numbers = wire_format.count_numbers(body)
        wire_format.parse(body)
    except (MalformedBody, UnsupportedMediaType, TooLarge, InvalidInput):
        pass
    return numbers


def _check(make_format: Callable[[], WireFormat], body: bytes) -> None:
    numbers: list[int] = []
    assert longest_step(lambda: _parse(make_format(), body), LONGEST) < LONGEST
    peak = peak_memory(lambda: numbers.append(_parse(make_format(), body)))
    assert peak < len(body) + BYTES_PER_NUMBER * numbers[0] + CONSTANT, "beside the body itself"


@pytest.mark.parametrize("kind", JSON_BODIES)
def test_json(kind: str, model: Model) -> None:
    _check(lambda: V1Format(model, "encode", "application/json", None, Options(), None, 4096), JSON_BODIES[kind]())


@pytest.mark.parametrize("kind", ["numbers", "real numbers", "lists of one", "texts", "base64"])
def test_json_of_latents(kind: str, model: Model) -> None:
    body = JSON_BODIES[kind]().replace(b'"inputs"', b'"latents"')
    _check(lambda: V1Format(model, "decode", "application/json", None, Options(), None, 4096), body)


@pytest.mark.parametrize("kind", V2_BODIES)
def test_json_of_the_open_inference_protocol(kind: str, model: Model) -> None:
    body = V2_BODIES[kind]()
    _check(lambda: V2Format("small", model, "encode", None, None, Options(), None, 60), body)
    _check(lambda: V2Format("small", model, "encode", str(len(body)), None, Options(), None, 60), body + bytes(MIB))


@pytest.mark.parametrize("kind", FORMS)
def test_forms(kind: str, model: Model) -> None:
    _check(lambda: V1Format(model, "encode", FORM, None, Options(), None, 4096), FORMS[kind]())


def test_the_measures_see_what_one_step_does() -> None:
    body = JSON_BODIES["numbers"]()
    assert longest_step(lambda: arrays.parse_json(body)) > LONGEST / 2
    assert peak_memory(lambda: arrays.read_flat(body, "inputs")) > len(body) + 4 * len(body)


def test_a_body_is_received_into_memory_once() -> None:
    chunks = [bytes(64 << 10)] * 64

    async def receive() -> Any:
        return {"type": "http.request", "body": chunks.pop(), "more_body": bool(chunks)}

    def run() -> None:
        """It never waits, so it needs no event loop."""
        with pytest.raises(StopIteration) as caught:
            bodies.receive_body(Request({"type": "http"}, receive), None, SIZE).send(None)
        received.append(caught.value.value)

    received: list[bytes] = []
    assert peak_memory(run) < 1.2 * SIZE
    assert len(received[0]) == SIZE


def test_numbers_are_reserved_before_they_are_parsed(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: Any) -> Any:
        raise AssertionError("parsed")

    with served(models, max_pixels=100_000, max_inside_pixels=100_000) as client:
        monkeypatch.setattr("service.codecs.json_documents.json_spans.NumberSpan.read", read)
        body = fill(b"0,", INPUTS, b"0]}", 1 << 19)
        headers = {"Content-Type": "application/json"}
        refused(client.post("/v1/models/small/encode", content=body, headers=headers), 413, "M pixels or numbers")
        body = fill(b"0,", DATA, b"0]}]}", 1 << 19)
        response = client.post("/v2/models/small/infer", content=body, headers=headers)
        assert response.status_code == 413
        assert "M pixels or numbers" in response.json()["error"]


def test_outputs_are_reserved_before_they_are_computed(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any) -> Any:
        raise AssertionError("computed")

    with served(models, max_pixels=10_000, max_inside_pixels=10_000) as client:
        monkeypatch.setattr("service.inference.engine.Inference.run", run)
        latents = npy(np.zeros((13, 32), np.float32))  # 416 numbers, 10,192 pixels
        headers = {"Content-Type": "application/x-npy"}
        refused(client.post("/v1/models/small/decode", content=latents, headers=headers), 413, "M pixels or numbers")


def test_the_index_of_the_repository_takes_no_large_body(models: Path) -> None:
    body = fill(b"[],", b'{"ready":[', b"[]]}", 1 << 16)
    with served(models) as client:
        response = client.post("/v2/repository/index", content=body)
    assert response.status_code == 413
    assert "1024 bytes" in response.json()["error"]


def test_answers_of_the_open_inference_protocol_are_written_in_short_steps(model: Model) -> None:
    result = Result(np.full((1 << 16, 32), 0.1, np.float32))
    for parameters in (b"{}", b'{"binary_data_output":true}'):
        wire_format = V2Format("small", model, "encode", None, None, Options(), None, 60)
        head = (
            b'{"parameters":'
            + parameters
            + b',"inputs":[{"name":"image","shape":[1,28,28,1],"datatype":"UINT8","data":['
        )
        wire_format.parse(head + b"0," * 783 + b"0]}]}")
        assert longest_step(partial(wire_format.serialize, result), LONGEST) < LONGEST


def test_a_form_is_parsed_once_into_memory() -> None:
    body = FORMS["starts of boundaries"]()
    assert peak_memory(lambda: multipart.parse_form(body, FORM, 10)) < 1.2 * len(body)
    (part,) = multipart.parse_form(body, FORM, 10)
    assert part.data == body[len(FILE) : -len(b"\r\n--b--\r\n")]


def test_answers_in_json_are_written_in_short_steps() -> None:
    document = {"latents": np.full((1 << 16, 32), 0.1, np.float32)}
    assert longest_step(lambda: json_writer.write(document), LONGEST) < LONGEST


# --- files of images -----------------------------------------------------------------------------------------


def png_with(kind: bytes, content: bytes) -> bytes:
    good = seeds.seeds()["png"][1]
    return good[:33] + seeds.chunk(kind, content) + good[33:]


JPEG = seeds.seeds()["jpeg"][1]
FILES: dict[str, Callable[[], bytes]] = {
    "PNG: text of zeros": lambda: png_with(b"zTXt", b"a\0\0" + bytes(SIZE)),
    "PNG: text that unpacks": lambda: png_with(b"zTXt", b"a\0\0" + zlib.compress(bytes(SIZE), 0)),
    "PNG: international text": lambda: png_with(b"iTXt", b"a\0\0\0\0\0" + b"x" * SIZE),
    "PNG: text in front of pixels": lambda: png_with(b"tEXt", b"a\0" + b"x" * SIZE),
    "PNG: profile": lambda: png_with(b"iCCP", b"a\0\0" + bytes(SIZE)),
    "JPEG: zeros behind it": lambda: JPEG + bytes(SIZE),
    "JPEG: starts of scans behind it": lambda: JPEG + b"\xff\xda" * (SIZE // 2),
    "JPEG: cut off, then fill bytes": lambda: JPEG[:-2] + b"\xff" * SIZE,
    "JPEG: cut off, then zeros": lambda: JPEG[:-2] + bytes(SIZE),
    "JPEG: empty segments": lambda: JPEG[:2] + b"\xff\xfe\0\2" * (SIZE // 4) + JPEG[2:],
    "JPEG: restarts": lambda: JPEG[:-2] + b"\xff\xd0" * (SIZE // 2) + b"\xff\xd9",
    "HEIC: boxes": lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0\0\0\x08free" * (SIZE // 8),
}


@pytest.mark.parametrize("kind", FILES)
def test_files_of_images(kind: str) -> None:
    data = FILES[kind]()

    def read() -> None:
        with contextlib.suppress(InvalidInput, TooLarge, UnsupportedMediaType):  # HEIC needs an extra
            images.decode(data, images.inspect(data, 10**6, "image"), "image")

    read()  # the first use loads libraries
    assert longest_step(read, LONGEST) < LONGEST
    assert peak_memory(read) < len(data) + CONSTANT, "beside the file: one copy of a JPEG without an end"


def test_a_jpeg_of_too_many_segments_is_refused() -> None:
    data = FILES["JPEG: empty segments"]()
    with pytest.raises(TooLarge, match="more than 10000 segments; save it again"):
        images.inspect(data, 10**6, "image")


# --- the fuzzer ----------------------------------------------------------------------------------------------


def test_what_docker_compose_lets_in_fits_into_four_gibibytes() -> None:
    bounds = costs.read_bounds()
    assert costs.allowed_memory(bounds) < 4096 * MIB
    text = Path("docs/deploy.md").read_text()
    assert "256 MiB and 640 MiB for each worker, twice `MAX_INSIDE_BYTES`, 27 bytes for each" in text


def test_mutants_differ_and_can_be_sent() -> None:
    rng = random.Random(0)
    template = costs.templates("/a", "/b", "/c")[0]
    mutants = {template}
    for _ in range(200):
        mutants.add(costs.mutate(rng.choice(sorted(mutants, key=str)), [template], rng))
    assert len(mutants) > 100
    assert all(len(mutant.body(1000)) <= 1000 + len(mutant.start + mutant.unit + mutant.end) for mutant in mutants)


def test_the_search_finds_a_service_that_is_over_its_bounds(models: Path, tmp_path: Path) -> None:
    settings = {
        "max_body_bytes": 8 * MIB,
        "max_inside_bytes": 16 * MIB,
        "max_inside_pixels": 10**6,
        "max_pixels": 10**6,
    }
    starts = [
        template
        for template in costs.templates("/v1/models/small", "/v1/models/page", INFER)
        if "JSON" in template.kind
    ]
    with serving(settings, models=models, logs=tmp_path) as running:
        within = costs.search(running, {**settings, "workers": 2}, starts, 10)
        over = costs.search(running, {**settings, "workers": -1, "max_inside_pixels": 0}, starts, 0)
    assert not [sentence for sentence in within.broken if "livez" not in sentence], "time is for an idle machine"
    assert any("are allowed" in sentence for sentence in over.broken)
