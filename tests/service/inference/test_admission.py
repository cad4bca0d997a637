"""Admission: a bounded number of requests, bytes and pixels inside."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from service.app import create_app
from service.errors import Overloaded, TooLarge
from service.inference.admission import Admission
from service.settings import Settings


def test_a_full_house_is_refused_and_has_room_again_when_one_leaves() -> None:
    admission = Admission(max_requests=1, max_pixels=100, max_bytes=100)
    with admission.enter() as permit, admission.enter() as slower:  # who is still sending holds no place
        permit.occupy()
        permit.reserve_pixels(60)
        with pytest.raises(Overloaded, match="1 requests are inside") as refusal, admission.enter():
            pass
        with pytest.raises(Overloaded):
            slower.occupy()
        assert refusal.value.headers == {"Retry-After": "1"}
    with pytest.raises(TooLarge), admission.enter() as permit:
        permit.reserve_pixels(101)
    assert (admission.requests, admission.pixels) == (0, 0)


def test_pixels_that_do_not_fit_now_are_429_and_those_that_never_will_413() -> None:
    admission = Admission(max_requests=5, max_pixels=100, max_bytes=100)
    with admission.enter() as first, admission.enter() as second:
        first.reserve_pixels(60)
        with pytest.raises(Overloaded):
            second.reserve_pixels(60)
        with pytest.raises(TooLarge):
            second.reserve_pixels(101)


def test_bytes_that_do_not_fit_now_are_429_and_fit_when_others_left() -> None:
    admission = Admission(max_requests=5, max_pixels=100, max_bytes=100)
    with admission.enter() as first:
        first.reserve_bytes(60)
        with pytest.raises(Overloaded, match="the bodies inside have 60 bytes, 100 fit"), admission.enter() as second:
            second.reserve_bytes(60)
        assert admission.bytes == 60
    with admission.enter() as third:
        third.reserve_bytes(100)
    assert admission.bytes == 0


def test_memory_of_runs_that_does_not_fit_now_is_429_and_never_413() -> None:
    admission = Admission(max_requests=5, max_pixels=100, max_bytes=100, max_memory=100)
    with admission.enter() as first, admission.enter() as second:
        first.reserve_memory(60)
        with pytest.raises(Overloaded, match="runs inside take"):
            second.reserve_memory(60)
        with pytest.raises(TooLarge, match="AUTOENCODER_MAX_RUN_BYTES"):
            second.reserve_memory(101)
    assert admission.memory == 0


def test_a_full_service_answers_429_with_retry_after_and_health_still_answers(models: Path) -> None:
    app = create_app(Settings(models=models, max_requests=1))
    with TestClient(app) as client, app.services.admission.enter() as permit:
        permit.occupy()
        response = client.post("/v1/models/signal/encode", json={"inputs": [1, 2, 3, 4, 5, 6]})
        assert response.status_code == 429
        assert response.headers["retry-after"] == "1"
        assert client.get("/livez").status_code == 200
    assert app.services.admission.requests == 0


def test_a_body_over_the_limit_is_413(models: Path) -> None:
    with TestClient(create_app(Settings(models=models, max_body_bytes=2000))) as client:
        response = client.post("/v1/models/small/encode", content=b"0" * 3000, headers={"Content-Type": "image/png"})
        assert response.status_code == 413
        assert response.headers["content-type"] == "application/problem+json"
        assert "larger than 2000 bytes, which is the limit: it has 3000" in response.json()["detail"]

        def chunks() -> Iterator[bytes]:
            yield from [b"0" * 1500] * 2

        response = client.post("/v1/models/small/encode", content=chunks(), headers={"Content-Type": "image/png"})
        assert response.status_code == 413
