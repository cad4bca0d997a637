"""What a payload must be for a model: kinds, sizes, finite numbers."""

from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.service.http import NPY, npy, picture, refused, url


@pytest.mark.parametrize("latents", [[1.0] * 31, [[1.0] * 33], [["a"]], [[1e39] * 32], [[[1.0] * 32]]])
def test_latents_of_the_wrong_kind_are_refused(client: TestClient, latents: Any) -> None:
    refused(client.post(url("decode"), json={"latents": latents}), 422)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_numbers_that_are_not_finite_are_refused(client: TestClient, value: float) -> None:
    body = npy(np.full((1, 6), value))
    refused(client.post(url("encode", "signal"), content=body, headers=NPY), 422, "all must be finite")


def test_samples_of_several_sizes_are_refused(client: TestClient) -> None:
    files = [("image", picture(np.zeros((8, size, 3), np.uint8))) for size in (8, 12)]
    refused(client.post(url("denoise", "negative"), files=files), 422, "must have one shape", "application/x-ndjson")
