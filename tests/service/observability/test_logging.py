"""The request log."""

import json
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from service.observability import logging as logs
from tests.service.http import ENCODE, PARENT, lines, npy, post, served


def test_one_line_tells_of_a_request(fresh: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    post(fresh, ENCODE + "?fit=contain", X_Request_Id="r1", traceparent=PARENT)
    fresh.get("/livez")
    fresh.get("/metrics")
    post(fresh, "/v1/models/nobody/encode")
    good, bad = lines(caplog)
    assert {k: good[k] for k in ("level", "method", "path", "model", "version", "operation", "status")} == {
        "level": "info", "method": "POST", "path": ENCODE, "model": "small", "version": "2", "operation": "encode",
        "status": 200,
    }  # fmt: skip
    assert good["request_id"] == "r1"
    assert good["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert good["bytes_in"] == len(npy(np.full((1, 28, 28), 100, np.uint8)))
    assert good["bytes_out"] > 100
    assert 0 < good["milliseconds"] < 10_000
    assert (bad["status"], bad["model"], bad["reason"]) == (404, "", "unknown_model")
    assert "trace_id" not in bad


@pytest.mark.parametrize(("setting", "expected"), [("off", []), ("errors", [404]), ("on", [200, 404])])
def test_lines_can_be_had_for_errors_only(
    models: Path, caplog: pytest.LogCaptureFixture, setting: str, expected: list[int]
) -> None:
    caplog.set_level(logging.INFO)
    with served(models, log_requests=setting) as client:
        post(client)
        post(client, "/v1/models/nobody/encode")
    assert [line["status"] for line in lines(caplog)] == expected


def test_a_path_cannot_forge_a_line(fresh: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    fresh.get("/a%0aINFO%20forged")
    (record,) = [r for r in caplog.records if r.name == "service.access"]
    assert "\n" not in logs.JsonLines().format(record)
    assert "\n" not in record.getMessage()


def test_a_trace_of_an_exception_stays_on_its_json_line() -> None:
    try:
        raise ValueError("no\nnews")  # noqa: TRY301
    except ValueError:
        record = logging.LogRecord("a", logging.ERROR, "", 0, "failed: %s", ("x",), sys.exc_info())
    line = logs.JsonLines().format(record)
    assert "\n" not in line
    fields = json.loads(line)
    assert (fields["level"], fields["message"]) == ("error", "failed: x")
    assert "ValueError" in fields["exception"]


def test_a_file_name_that_is_no_utf8_is_logged_in_printable_form() -> None:
    record = logging.LogRecord("service", logging.ERROR, "", 0, "%s is bad", ("a\udcff",), None)
    record.fields = {"path": "b\udcfe", "status": 200}
    line = json.loads(logs.JsonLines().format(record))
    assert (line["message"], line["path"], line["status"]) == ("a\\xff is bad", "b\\xfe", 200)
