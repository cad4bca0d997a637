"""Results of other strengths from results that were computed before, over HTTP."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from service.codecs import images
from service.imaging.picture import Picture
from tests.service.http import picture, refused

MODEL = "/v1/models/page/denoise"


def denoise(client: TestClient, data: bytes, strength: float) -> bytes:
    response = client.post(f"{MODEL}?strength={strength}", files={"image": ("scan", data)})
    assert response.status_code == 200, response.text
    return response.content


def blend(client: TestClient, strength: float, **files: bytes) -> Any:
    return client.post(f"/v1/blend?strength={strength}", files={name: ("file", data) for name, data in files.items()})


def pages(data: bytes) -> list[np.ndarray]:
    header = images.inspect(data, 10**6, "image", 100)
    return [page.pixels.astype(int) for page in images.decode(data, header, "image")]


def scans() -> dict[str, tuple[bytes, int]]:
    """Files by name, and how far one level of the file's depth may be off (JPEG is written twice)."""
    random = np.random.default_rng(0)
    eight = random.integers(0, 256, (70, 90), dtype=np.uint8)
    colour = random.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    sixteen = random.integers(0, 65536, (50, 60, 1), dtype=np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(eight).save(buffer, "TIFF", save_all=True, append_images=[Image.fromarray(eight[:30])])
    smooth = np.add.outer(np.arange(70), np.arange(90)).astype(np.uint8)
    return {
        "8 bits": (picture(eight), 1),
        "colour": (picture(colour), 1),
        "16 bits": (images.encode(Picture(sixteen), "image/png"), 257),
        "pages": (buffer.getvalue(), 1),
        "bmp": (picture(colour, "BMP"), 1),
        "jpeg": (picture(smooth, "JPEG", quality=95), 8),
        "1 bit": (picture(eight > 127), 0),
    }


@pytest.mark.parametrize("name", scans())
def test_a_blend_is_what_denoise_answers(denoisers: TestClient, name: str) -> None:
    data, tolerance = scans()[name]
    once, twice = denoise(denoisers, data, 1), denoise(denoisers, data, 2)
    for strength in (0.35, 1.35) if name != "1 bit" else (0.35,):
        expected = denoise(denoisers, data, strength)
        response = blend(denoisers, strength, original=data, denoised=once, denoised_twice=twice)
        assert response.status_code == 200, response.text
        assert images.inspect(response.content, 10**6, "image", 100) == images.inspect(expected, 10**6, "image", 100)
        got, wanted = pages(response.content), pages(expected)
        assert [page.shape for page in got] == [page.shape for page in wanted]
        for page, other in zip(got, wanted, strict=True):
            if name == "1 bit":
                assert (page != other).mean() < 0.02
            else:
                assert np.abs(page - other).max() <= 2 * tolerance
    admission = denoisers.app.services.admission  # type: ignore[attr-defined]
    assert (admission.requests, admission.pixels, admission.bytes) == (0, 0, 0)


def test_what_cannot_be_blended_is_refused_in_a_sentence(denoisers: TestClient) -> None:
    scan = picture(np.full((20, 30), 90, np.uint8))
    other = picture(np.full((21, 30), 90, np.uint8))
    refused(blend(denoisers, 0.5, original=scan, denoised=other), 422, "30x20", "30x21")
    refused(blend(denoisers, 1.5, original=scan, denoised=scan), 422, "denoised_twice")
    refused(blend(denoisers, 0.5, original=scan), 422, "no field 'denoised'")
    refused(blend(denoisers, 0.5, original=scan, denoised=scan, image=scan), 422, "'image'")
    refused(blend(denoisers, 3, original=scan, denoised=scan), 422, "from 0 to 2")
    refused(blend(denoisers, 0.5, original=b"%PDF-1.4", denoised=scan), 415)
    refused(blend(denoisers, 0.5, original=scan, denoised=scan[:60]), 422, "denoised")
    refused(blend(denoisers, 0.5, original=scan, denoised=picture(np.full((20, 30), 9, np.uint8), "GIF")), 422, "gif")
    refused(denoisers.post("/v1/blend?strength=0.5&bits=1", files={"original": scan}), 422, "'bits'")
    refused(denoisers.post("/v1/blend", content=scan, headers={"Content-Type": "image/png"}), 422, "form")
    refused(denoisers.post("/v1/blend", data={"original": "x"}), 422, "form")
    large = picture(np.zeros((400, 400), np.uint8))
    refused(blend(denoisers, 0.5, original=large, denoised=large), 413)
