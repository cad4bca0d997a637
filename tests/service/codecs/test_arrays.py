"""JSON of numbers has two readers, a fast one and one that finds the words for what is wrong; they never disagree."""

import json
import random
import tracemalloc

import numpy as np
import pytest
from starlette.testclient import TestClient

from service.codecs import arrays
from service.errors import InvalidInput, MalformedBody
from tests.service.http import IMAGE, NPY, npy, refused, url


def read_slowly(body: bytes) -> np.ndarray | None:
    """What the careful reader makes of it, None where it refuses."""
    try:
        document = arrays.parse_json(body)
        if not isinstance(document, dict) or list(document) != ["inputs"]:
            return None
        return arrays.read_numbers(document["inputs"], "inputs")
    except (InvalidInput, MalformedBody):
        return None


def bodies(seed: int, count: int) -> list[bytes]:
    """JSON of numbers, whole and real, of which two of three are damaged by one or two bytes."""
    chance, rng = random.Random(seed), np.random.default_rng(seed)
    examples = []
    for _ in range(count):
        shape = [chance.randint(1, 3) for _ in range(chance.randint(1, 4))]
        values = rng.integers(-2, 300, shape) if chance.random() < 0.5 else rng.normal(0, 9, shape).round(2)
        body = bytearray(json.dumps({"inputs": values.tolist()}, indent=chance.choice([None, 1])).encode())
        for _ in range(chance.randint(0, 2)):
            position, byte = chance.randrange(len(body)), chance.choice(b'[],0 1.-e"}{')
            body[position : position + chance.randint(0, 1)] = bytes([byte]) * chance.randint(0, 1)
        examples.append(bytes(body))
    return examples


def test_the_fast_reader_never_reads_what_the_careful_one_refuses_nor_reads_it_otherwise() -> None:
    count = 0
    for body in bodies(0, 20_000):
        fast = arrays.read_flat(body, "inputs")
        if fast is not None:
            slow = read_slowly(body)
            assert slow is not None, body
            assert fast.shape == slow.shape, body
            assert (fast == slow).all(), body
            count += 1
    assert count > 6_000, "it reads all that is in order"


@pytest.mark.parametrize(
    ("values", "dtype"), [([[0, 255], [3, 4]], "uint8"), ([[0, 256]], "float64"), ([-1], "float64"), ([0.5], "float64")]
)
def test_pixels_come_as_bytes(values: list[object], dtype: str) -> None:
    array = arrays.read_flat(json.dumps({"latents": values}).encode(), "latents")
    assert array is not None
    assert array.dtype == dtype
    assert array.tolist() == values


@pytest.mark.parametrize(
    "body",
    [b'{"inputs": [[1], 2]}', b'{"inputs": [[1,]2]}', b'{"inputs": []}', b'{"inputs": [true]}', b'{"inputs": ["1"]}',
     b'{"inputs": [1], "more": [2]}', b'{"input": [1]}', b"[1]", b"", b'{"inputs": [1e999]}', b'{"inputs": [[[]], []]}',
     b'{"inputs": ' + b"[" * 9 + b"1" + b"]" * 9 + b"}"],
)  # fmt: skip
def test_all_other_documents_are_left_to_the_careful_reader(body: bytes) -> None:
    assert arrays.read_flat(body, "inputs") is None


def test_a_lying_npy_header_is_refused_before_any_memory_is_taken(client: TestClient) -> None:
    body = npy(IMAGE).replace(b"(28, 28)", b"(1152921504606846976,)"[:8].ljust(8))
    lying = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little")
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1152921504606846976,), }".ljust(117) + b"\n"
    refused(client.post(url("encode"), content=lying + header, headers=NPY), 400, "9223372036854775808 bytes; 0 came")
    assert client.post(url("encode"), content=body, headers=NPY).status_code < 500


@pytest.mark.parametrize(
    ("shape", "descr"),
    [
        (f"(0, {10**30})", "|u1"),
        (f"({2**63 - 1}, 0)", "<f4"),
        (f"({2**40}, {2**40}, 0)", "<f4"),
        (f"({2**31 - 1}, {2**31 - 1}, {2**31 - 1}, 0)", "<f4"),
        (f"({10**30}, 28)", "|u1"),
        (f"({2**33}, {2**33})", "|u1"),
        ("(-4, -7)", "|u1"),
        ("(99999999999999,)", "|u1"),
        ("(2.5, 3)", "|u1"),
        ("7", "|u1"),
    ],
)
def test_an_absurd_header_is_refused_and_takes_no_memory(shape: str, descr: str) -> None:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(28)
    tracemalloc.start()
    for body in (data, data[:-28]):
        with pytest.raises(MalformedBody):
            arrays.read_npy(body, "the body")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
