"""The router of operations."""

import pytest
from starlette.testclient import TestClient

from tests.service.http import refused, url


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_an_operation_is_asked_by_post(client: TestClient, method: str) -> None:
    answer = client.request(method, url("encode"))
    refused(answer, 405, f"{method} is not allowed here; allowed is POST")
    assert answer.headers["allow"] == "POST"
