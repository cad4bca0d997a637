"""Errors become problem documents; nothing a client sends gives a 500."""

import gc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from service.errors import ServiceError
from tests.service.http import IMAGE, NPY, npy, picture, refused, url

VALID = [
    ("image/png", picture()), ("image/jpeg", picture(form="JPEG")), ("image/webp", picture(form="WEBP")),
    ("image/tiff", picture(form="TIFF")), ("image/bmp", picture(form="BMP")), ("application/x-npy", npy(IMAGE)),
    ("application/json", b'{"inputs": [[1, 2], [3, 4]]}'), ("application/json", b'{"latents": [[1.5, 2]]}'),
    ("multipart/form-data; boundary=x",
     b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + picture() + b"\r\n--x--\r\n"),
]  # fmt: skip


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(VALID),
    st.sampled_from(["encode", "decode", "reconstruct", "denoise"]),
    st.sampled_from(["small", "signal", "negative"]),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8),
    st.one_of(st.none(), st.integers(0, 10**6)),
)
def test_nothing_a_client_sends_gives_a_500(
    client: TestClient,
    valid: tuple[str, bytes],
    operation: str,
    model: str,
    flips: list[tuple[int, int]],
    cut: int | None,
) -> None:
    media, body = valid[0], bytearray(valid[1])
    for place, value in flips:
        body[place % len(body)] = value
    if cut is not None:
        body = body[: cut % len(body)]
    response = client.post(url(operation, model), content=bytes(body), headers={"Content-Type": media})
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert response.headers["content-type"] == "application/problem+json"


def test_a_bug_is_a_500_that_tells_nothing_and_a_trace_in_the_log(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(client.app.services.registry, "get", broken)  # type: ignore[attr-defined]
    answer = client.post(url("encode"), content=npy(IMAGE), headers=NPY)
    refused(answer, 500, "this is a bug of the service")
    assert "a secret" not in answer.text
    assert "RuntimeError: a secret" in caplog.text


@pytest.mark.parametrize("address", ["/v1/models/small/encode", "/v2/models/small.encode/infer"])
def test_a_refused_body_is_not_kept_until_the_collector_comes(client: TestClient, address: str) -> None:
    """It was, where a thread read it: the refusal, its trace, the frames and a future made a circle."""
    body = b'{"inputs": [' + b'"a", ' * 10_000 + b"1]}"
    client.post(address, content=body, headers={"Content-Type": "application/json"})
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            answer = client.post(address, content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code == 422
        # by type: isinstance asks __class__, and torch has objects that warn when they are asked
        errors = [instance for instance in gc.get_objects() if issubclass(type(instance), ServiceError)]
        assert not [error for error in errors if error.__traceback__ is not None]
    finally:
        gc.enable()
