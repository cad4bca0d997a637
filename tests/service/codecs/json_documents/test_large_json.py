"""Large documents: the same results as of the reader of small ones; what is wrong with them is said."""

import base64
import json
from collections import Counter
from typing import Any

import numpy as np
import orjson
import pytest

from service.codecs import arrays
from service.codecs.json_documents import json_spans, large_json
from service.codecs.json_documents.json_spans import NumberSpan, TextSpan
from service.codecs.json_documents.large_json import Outline
from service.errors import InvalidInput, MalformedBody, ServiceError, TooLarge
from service.interruption import Interruption, interruptible
from tests.service.codecs.test_arrays import bodies


def read_small(body: bytes) -> Any:
    document = arrays.parse_json(body)
    return arrays.to_floats(arrays.read_numbers(document["inputs"], "inputs"), "float32", "inputs")


def read_large(body: bytes) -> Any:
    document = Outline(body).parse()
    return arrays.to_floats(json_spans.read_numbers(document["inputs"], "inputs", np.float32), "float32", "inputs")


def outcome(read: Any, body: bytes) -> Any:
    """The array, or the type of the error."""
    try:
        return read(body)
    except (ServiceError, KeyError, TypeError) as error:  # without inputs, or no object
        return type(error)


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is large, and slices are short."""
    monkeypatch.setattr(large_json, "_MIN_ARRAY_BYTES", 0)
    monkeypatch.setattr(large_json, "_MIN_TEXT_BYTES", 1)
    monkeypatch.setattr(large_json, "_MAX_STRING_BYTES", 4)
    monkeypatch.setattr(large_json, "_SEARCH_BYTES", 7)
    monkeypatch.setattr(json_spans, "SLICE_BYTES", 60)


@pytest.mark.usefixtures("small_limits")
def test_the_reader_in_slices_takes_what_the_other_takes_and_nothing_else() -> None:
    counts = Counter[bool]()
    for body in bodies(1, 10_000):
        small, large = outcome(read_small, body), outcome(read_large, body)
        is_array = isinstance(small, np.ndarray)
        assert is_array == isinstance(large, np.ndarray), (body, small, large)
        if is_array:
            assert small.shape == large.shape, body
            assert (small == large).all(), body
        counts[is_array] += 1
    assert min(counts.values()) > 3_000


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((300_000,), np.uint8),
        ((3000, 10, 10), np.uint8),
        ((100_000, 1), np.float32),
        ((1, 90_000), np.float32),
        ((2, 1, 70, 200), np.float32),
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_arrays_of_any_shape(shape: tuple[int, ...], dtype: Any, indent: int | None) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, shape) if dtype == np.uint8 else rng.normal(size=shape)
    outline = Outline(json.dumps({"model": "a", "inputs": values.tolist(), "version": 2}, indent=indent).encode())
    assert outline.numbers == values.size, "before any is parsed"
    document = outline.parse()
    assert (document["model"], document["version"]) == ("a", 2)
    read = json_spans.read_numbers(document["inputs"], "inputs", dtype)
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, values.astype(dtype))


def test_an_array_inside_of_others_and_beside_short_ones() -> None:
    data = list(range(5000))
    entry = {"name": "vector", "shape": [1, 5000], "data": data}
    document = Outline(json.dumps({"inputs": [entry, {"data": [data]}], "outputs": [[data]]}).encode()).parse()
    first, second = document["inputs"]
    assert first["shape"] == [1, 5000]
    assert first["data"].read("it", np.float32).tolist() == data
    assert second["data"].read("it", np.float32).shape == (1, 5000)
    assert document["outputs"].read("it", np.float32).shape == (1, 1, 5000)


def long(unit: str, start: str = '{"inputs":[', end: str = "]}", size: int = large_json.LARGE_BYTES + 1) -> bytes:
    return (start + ",".join([unit] * (size // (len(unit) + 1) + 1)) + end).encode()


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (long("[]"), InvalidInput, "inputs holds empty lists"),
        (long("null"), InvalidInput, "inputs holds null where numbers are wanted"),
        (long("0,true"), InvalidInput, "inputs holds true"),
        (long("0") + b"x", MalformedBody, "not JSON"),
        (long("NaN"), MalformedBody, "unexpected character 'N' among numbers"),
        (long("1e999"), MalformedBody, "not JSON"),
        (long("1e39"), InvalidInput, "beyond float32"),
        (long("[1,2]", end=",[1]]}"), InvalidInput, "inputs is ragged: lists of 2 and of 1 side by side"),
        (long("[1,2]", end=",[1,2,3]]}"), InvalidInput, "inputs is ragged: lists of 2 and of"),
        (long("[1,2]", end=",[[1,2]]]}"), MalformedBody, "not JSON"),
        (long("0", end="],[0]}"), MalformedBody, "not JSON"),
        (long("0", '{"inputs":' + "[" * 9, "]" * 9 + "}"), InvalidInput, "more than 8 lists deep"),
        (long("0", end=" " * (1 << 18) + "]}"), InvalidInput, "a number, or space, of more than 131072 bytes"),
        (long("0,,0"), MalformedBody, "not JSON"),
        (long("0") [:-2], TooLarge, "beside arrays of numbers"),
        (long("{}"), TooLarge, "more than 262144 bytes beside arrays of numbers and base64 texts; send"),
        (long('"a"'), TooLarge, "many images as a form"),
        (long('"a":0', "{", "}"), TooLarge, "beside arrays of numbers"),
        (b'{"inputs":' + b"[" * large_json.LARGE_BYTES, TooLarge, "beside arrays"),
        (b'{"inputs":"' + b'\\"' * large_json.LARGE_BYTES, InvalidInput, "quotes and backslashes"),
        (b'{"inputs":"' + b"\\\\" * large_json.LARGE_BYTES + b'"}', InvalidInput, "quotes and backslashes"),
        (b'{"' + b"k" * large_json.LARGE_BYTES + b'":0}', TooLarge, "beside arrays"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(body: bytes, error: type[ServiceError], words: str) -> None:
    with pytest.raises(error) as caught:
        read_large(body)
    assert words in caught.value.detail


def test_texts_are_str_if_they_are_short_and_keys_always() -> None:
    texts = {"a" * 100: "b" * 100, "escaped": 'ä"\\' * 50, "long": "c" * 5000, "list": ["d" * 80, "e" * 4096]}
    document = Outline(json.dumps(texts).encode()).parse()
    span = document.pop("long")
    assert isinstance(span, TextSpan)
    assert repr(span) == "a text of 5000 bytes"
    assert document == {key: value for key, value in texts.items() if key != "long"}


def test_a_text_with_a_control_character_is_no_json() -> None:
    with pytest.raises(MalformedBody):
        Outline(b'{"a":"' + b"\n" * 100 + b'"}').parse()


def test_a_number_span_in_words() -> None:
    span = Outline(json.dumps(list(range(5000))).encode()).parse()
    assert isinstance(span, NumberSpan)
    assert repr(span) == "a list of 5000 numbers"


def test_spans_where_numbers_are_wanted_are_named() -> None:
    document = Outline(json.dumps({"inputs": [{"a": 1}, list(range(5000)), "x" * 5000]}).encode()).parse()
    with pytest.raises(InvalidInput, match="holds a list and an object and text where numbers"):
        json_spans.read_numbers(document["inputs"], "inputs", np.float32)


def test_work_that_nobody_waits_for_ends() -> None:
    interruption = Interruption()
    interruption.stop()
    with interruptible(interruption), pytest.raises(InterruptedError):
        Outline(long("0"))


# --- base64 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [4000, 100_000, 3 << 17, 300_001, 300_002])
@pytest.mark.parametrize("write", ["plain", "data: URL", "lines", "escaped slashes", "escaped code points"])
def test_base64_however_it_is_written(size: int, write: str) -> None:
    data = np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()
    text = base64.b64encode(data).decode()
    if write == "lines":
        text = base64.encodebytes(data).decode()
    document = json.dumps({"inputs": ("data:image/png;base64," if write == "data: URL" else "") + text})
    if write == "escaped slashes":
        document = document.replace("/", "\\/")
    if write == "escaped code points":
        document = document.replace("=", "\\u003d").replace("+", "\\u002b").replace("A", "\\u0041")
    span = Outline(document.encode()).parse()["inputs"]
    assert span.decode_base64("inputs") == data


@pytest.mark.parametrize(
    "text", ["A" * 5001, "AA==" * 2000, "AA==" + "A" * 300_000, "é" * 5000, "\\/" * 5000 + "!",
             "!" * 5000, "data:image/png;base64," + "A" * 5000 + "!", "A" * 131_070 + "AA==AAAA"],
)  # fmt: skip
def test_what_is_no_base64_is_refused(text: str) -> None:
    span = Outline(f'{{"inputs":"{text}"}}'.encode()).parse()["inputs"]
    with pytest.raises(InvalidInput, match="inputs is text that is not a base64 image"):
        span.decode_base64("inputs")


def test_the_frame_is_parsed_by_the_parser_of_small_documents() -> None:
    body = json.dumps({"a": list(range(9000)), "b": [None, True, {"c": 1.5}]}).encode()
    document = Outline(body).parse()
    assert document["b"] == orjson.loads(body)["b"]
