"""Operations: unknown models, missing operations, deadlines."""

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.service.http import picture, refused, url
from tests.service.signals import until


def test_what_is_not_there_is_404_and_names_what_is(client: TestClient) -> None:
    refused(client.get("/v1/models/dog"), 404, "no model 'dog'; there are: negative, signal, small")
    refused(client.post(url("encode", "dog"), content=b""), 404, "there are: negative")
    refused(client.get("/v1/models/small/versions/7"), 404, "no version '7'; it has 1, 2")
    refused(client.post("/v1/models/small/versions/x/encode"), 404, "it has 1, 2")
    refused(client.post(url("dream")), 404, "there are encode, decode, reconstruct, denoise, sample")
    refused(client.get("/nowhere"), 404, "the models are at /v1/models")
    refused(client.get(url("encode")), 405, "GET is not allowed")


def test_an_operation_that_the_package_does_not_have_is_409(client: TestClient) -> None:
    document = refused(client.post(url("denoise", "signal")), 409, "it has encode, decode, reconstruct")
    assert document["operations"] == ["encode", "decode", "reconstruct"]


@pytest.mark.parametrize("header", ["0", "-1", "601", "soon", "nan", "inf"])
def test_a_deadline_out_of_range_is_refused(client: TestClient, header: str) -> None:
    answer = client.post(
        url("encode"), content=picture(), headers={"Content-Type": "image/png", "Request-Deadline": header}
    )
    refused(answer, 422, f"Request-Deadline is '{header}'; allowed are seconds above 0, up to 600")


def test_a_request_that_is_not_done_in_its_time_is_504_and_leaves(client: TestClient) -> None:
    large = picture(np.random.default_rng(0).integers(0, 256, (900, 1000), dtype=np.uint8))
    headers = {"Content-Type": "image/png", "Request-Deadline": "0.001"}
    document = refused(client.post(url("encode") + "?fit=cover", content=large, headers=headers), 504, "0.001 seconds")
    assert document["title"] == "Deadline exceeded"
    admission = client.app.services.admission  # type: ignore[attr-defined]
    until(lambda: admission.requests == 0)  # as soon as the thread that decodes is free
    headers["Request-Deadline"] = "60"
    assert client.post(url("encode") + "?fit=cover", content=large, headers=headers).status_code == 200
