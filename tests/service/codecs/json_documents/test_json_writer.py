import base64
import json
from typing import Any

import numpy as np
import orjson
import pytest

from service.codecs import arrays
from service.codecs.json_documents import json_writer
from tests.service.steps import MIB, longest_step, peak_memory

_RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    "shape", [(1,), (70_000,), (70_000, 1), (1, 70_000), (3, 5, 7000), (2, 2, 40_000), (9, 10_000)]
)
@pytest.mark.parametrize("dtype", ["float32", "uint8", "float64"])
def test_the_text_is_that_of_the_writer_in_one_step(shape: tuple[int, ...], dtype: str) -> None:
    array = (_RANDOM.normal(100, 20, shape)).astype(dtype)
    document: dict[str, Any] = {
        "model": 'a "name"',
        "version": 1,
        "latents": array,
        "outputs": [{"name": "ä", "shape": array.shape, "data": array.reshape(-1)}, {}, []],
        "unusual": np.array([True, False]),
        "none": None,
    }
    assert json_writer.write(document) == arrays.write_json(document)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 3 << 17, (3 << 17) + 1, MIB])
def test_bytes_become_base64(size: int) -> None:
    data = _RANDOM.integers(0, 256, size, np.uint8).tobytes()
    document = json.loads(json_writer.write({"images": [json_writer.Base64(data), json_writer.Base64(b"a")]}))
    assert [base64.b64decode(text) for text in document["images"]] == [data, b"a"]


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("shape", [(4 * MIB,), (2 * MIB, 2), (2, 2 * MIB)])
def test_no_step_is_long_and_memory_holds_the_text_alone(shape: tuple[int, ...], dtype: str) -> None:
    array = np.full(shape, 199, dtype)
    seconds = longest_step(lambda: json_writer.write({"latents": array}))
    assert seconds < 0.05
    in_one_step = longest_step(lambda: orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY))
    assert seconds < in_one_step / 2, "the measure sees the step that is avoided"
    text = len(json_writer.write({"latents": array}))
    assert peak_memory(lambda: json_writer.write({"latents": array})) < 1.15 * text + MIB


def test_base64_takes_no_long_step() -> None:
    data = bytes(32 * MIB)
    assert longest_step(lambda: json_writer.write([json_writer.Base64(data)]), 0.05) < 0.05
