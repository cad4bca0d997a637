"""Middleware: request ids, security headers, CORS."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.service.http import ENCODE, INFER, post, served


def test_a_sane_request_id_comes_back_and_another_is_replaced(client: TestClient) -> None:
    assert post(client, X_Request_Id="abc-1").headers["x-request-id"] == "abc-1"
    for bad in ("", "a b", "x" * 129):
        request_id = post(client, X_Request_Id=bad).headers["x-request-id"]
        assert len(request_id) == 32, bad
    assert post(client).headers["x-request-id"] != post(client).headers["x-request-id"]


@pytest.mark.parametrize("path", [ENCODE, "/v1/models/none/encode", INFER, "/livez", "/docs", "/nothing", "/metrics"])
def test_every_answer_has_its_security_headers(client: TestClient, path: str) -> None:
    operation = path.endswith(("encode", "infer"))
    answer = post(client, path) if operation else client.get(path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers.get("cache-control") == ("no-store" if operation else None)
    policy = answer.headers["content-security-policy"]
    assert ("'unsafe-inline'" in policy) == (path == "/docs")
    assert "frame-ancestors 'none'" in policy


def test_pages_of_other_origins_may_ask_only_where_the_setting_says(models: Path, client: TestClient) -> None:
    preflight = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in post(client, Origin="https://a.example").headers
    assert client.options(ENCODE, headers=preflight).status_code == 405
    with served(models, cors_origins="https://a.example, https://b.example") as open_client:
        assert (
            open_client.options(ENCODE, headers=preflight).headers["access-control-allow-origin"] == "https://a.example"
        )
        answer = post(open_client, Origin="https://a.example")
        assert "Model-Name" in answer.headers["access-control-expose-headers"]
        assert "access-control-allow-origin" not in post(open_client, Origin="https://c.example").headers
