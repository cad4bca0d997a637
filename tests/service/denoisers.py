"""Pictures for the service with denoisers of any size (fixture `denoisers`)."""

from typing import Any

import numpy as np
from PIL import ImageCms
from starlette.testclient import TestClient

from service.codecs import images
from service.imaging.picture import Picture

RANDOM = np.random.default_rng(0)


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


ALL_DEPTHS = [(dtype, bands) for dtype in (np.uint8, np.uint16) for bands in (1, 2, 3, 4)]


def denoise_url(model: str, query: str = "") -> str:
    return f"/v1/models/{model}/denoise{query}"


def pixels(dtype: Any, bands: int, height: int = 19, width: int = 45) -> Any:
    return RANDOM.integers(0, np.iinfo(dtype).max + 1, (height, width, bands)).astype(dtype)


def send(client: TestClient, model: str, data: bytes, query: str = "", **headers: str) -> Any:
    response = client.post(denoise_url(model, query), files={"image": data}, headers=headers)
    assert response.status_code == 200, response.text
    return response


def decode_pages(data: bytes) -> list[Picture]:
    return images.decode(data, images.inspect(data, 10**6, "it", 100), "it")
