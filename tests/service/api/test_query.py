"""Query parameters."""

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.service.denoisers import denoise_url, pixels
from tests.service.http import picture, refused


@pytest.mark.parametrize("value", ["2", "-0.1", "nan", "much", "", "inf"])
def test_a_strength_out_of_range_is_refused(denoisers: TestClient, value: str) -> None:
    answer = denoisers.post(denoise_url("page", f"?strength={value}"), files={"image": picture(pixels(np.uint8, 3))})
    refused(answer, 422, f"strength is '{value}'; allowed are numbers from 0 to 1")


def test_strength_is_for_denoise_and_openapi_says_so(denoisers: TestClient) -> None:
    answer = denoisers.post("/v1/models/signal/encode?strength=0.5", json={"inputs": [1, 2, 3, 4, 5, 6]})
    refused(answer, 422, "strength is for denoise")
    refused(denoisers.post(denoise_url("page", "?size=3"), content=b""), 422, "allowed are fit, strength and dpi")
    paths = denoisers.get("/openapi.json").json()["paths"]
    names = {operation: [p["name"] for p in paths[f"/v1/models/{{name}}/{operation}"]["post"]["parameters"]]
             for operation in ("encode", "denoise")}  # fmt: skip
    assert names == {
        "encode": ["name", "fit", "Request-Deadline"],
        "denoise": ["name", "fit", "strength", "dpi", "Request-Deadline"],
    }
