"""Inference: batches joined, vectors, strength."""

import asyncio
import io
from pathlib import Path

import numpy as np
from starlette.testclient import TestClient

from service.inference.engine import Inference, Result
from service.inference.inputs import Batch
from service.inference.options import Options
from service.inference.scheduler import Scheduler
from service.model.manifest import Operation
from service.model.package import read
from service.model.runtime import Model, Reconstruction
from tests.service.denoisers import denoise_url, pixels
from tests.service.http import NPY, npy, picture, refused, url


def test_callers_that_are_joined_get_what_they_would_get_alone(models: Path) -> None:
    model = Model(read(models / "small" / "2"))
    batches = [np.random.default_rng(n).integers(0, 256, (n, 28, 28, 1), dtype=np.uint8) for n in (1, 3, 2)]

    async def go(operation: Operation) -> list[Result]:
        inference = Inference(Scheduler(2), 64)
        return await asyncio.gather(*(inference.run(model, operation, Batch(b), Options()) for b in batches))

    for batch, result in zip(batches, asyncio.run(go("encode")), strict=True):
        np.testing.assert_array_equal(result.samples, model.encode(batch))
    for batch, result in zip(batches, asyncio.run(go("reconstruct")), strict=True):
        alone: Reconstruction = model.reconstruct(batch)
        np.testing.assert_array_equal(result.samples, alone.output)
        assert result.error is not None
        assert result.percentile is not None
        np.testing.assert_allclose(result.error, alone.error)
        np.testing.assert_allclose(result.percentile, alone.percentile)


def test_vectors_are_served(client: TestClient) -> None:
    document = client.post(url("encode", "signal"), json={"inputs": [1, 2, 3, 4, 5, 6.5]}).json()
    assert document["latents"] == [[2, 4, 6, 8, 10, 13]]
    response = client.post(url("reconstruct", "signal"), content=npy(np.arange(12.0).reshape(2, 6)), headers=NPY)
    np.testing.assert_array_equal(np.load(io.BytesIO(response.content)), np.arange(12.0).reshape(2, 6))
    assert response.headers["reconstruction-error"] == "0, 0"
    refused(
        client.post(url("encode", "signal"), files={"image": picture()}), 415, "multipart/form-data is not accepted"
    )


def test_strength_is_for_arrays_and_vectors_too(denoisers: TestClient) -> None:
    batch = pixels(np.uint8, 1)[None]
    for strength, expected in ((0, batch), (0.25, np.rint(batch + 0.25 * (255.0 - 2.0 * batch))), (1, 255 - batch),
                               (1.25, np.rint(255.0 - batch + 0.25 * (2.0 * batch - 255))), (2, batch)):  # fmt: skip
        query = f"?strength={strength}"
        array = np.load(
            io.BytesIO(denoisers.post(denoise_url("grey-negative", query), content=npy(batch), headers=NPY).content)
        )
        np.testing.assert_array_equal(array, expected)
        document = denoisers.post(denoise_url("grey-negative", query), json={"inputs": batch.tolist()}).json()
        np.testing.assert_array_equal(document["outputs"], expected)
    numbers = [0.1, 2, 3, 4, 5, 6]
    document = denoisers.post(denoise_url("signal", "?strength=0.5"), json={"inputs": numbers}).json()
    np.testing.assert_allclose(document["outputs"], [numbers], rtol=1e-6)
