"""What stands around every request: ids, headers, metrics, the log, keys, CORS, traces."""

import hashlib
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from service.api import auth
from service.api.auth import Keys, KeysError
from service.app import create_app
from service.cli.main import main
from service.observability import logging as logs
from service.observability.metrics import Histogram
from service.observability.tracing import Tracing
from service.settings import Settings, SettingsError, load
from tests.service.test_http import npy

INFER = "/v2/models/none/infer"
ENCODE = "/v1/models/small/encode"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def post(client: TestClient, url: str = ENCODE, count: int = 1, **headers: str) -> Any:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(
        url,
        content=npy(np.full((count, 28, 28), 100, np.uint8)),
        headers={"Content-Type": "application/x-npy", **names},
    )


@contextmanager
def served(models: Path, tracing: Tracing | None = None, **given: Any) -> Iterator[TestClient]:
    app = create_app(Settings(models=models, **given), tracing)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def fresh(models: Path) -> Iterator[TestClient]:
    with served(models, log_requests="on") as client:
        yield client


def metrics(client: TestClient) -> dict[tuple[str, ...], float]:
    """(sample's name, its labels' values in the order of their names) -> value"""
    text = client.get("/metrics").text
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


# --- ids and headers ----------------------------------------------------------------------------------------


def test_a_sane_request_id_comes_back_and_another_is_replaced(client: TestClient) -> None:
    assert post(client, X_Request_Id="abc-1").headers["x-request-id"] == "abc-1"
    for bad in ("", "a b", "x" * 129):
        made = post(client, X_Request_Id=bad).headers["x-request-id"]
        assert len(made) == 32, bad
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


# --- metrics ------------------------------------------------------------------------------------------------


def test_requests_are_counted_by_model_operation_and_status(fresh: TestClient) -> None:
    for _ in range(3):
        assert post(fresh).status_code == 200
    assert post(fresh, "/v1/models/small/reconstruct", count=5).status_code == 200
    post(fresh, "/v1/models/invented-by-a-caller/encode")
    fresh.get("/livez")
    found = metrics(fresh)
    assert found["autoencoder_requests_total", "small", "encode", "200"] == 3
    assert found["autoencoder_requests_total", "small", "reconstruct", "200"] == 1
    assert found["autoencoder_requests_total", "", "encode", "404"] == 1
    assert sum(value for key, value in found.items() if key[0] == "autoencoder_requests_total") == 5
    assert found["autoencoder_refused_total", "unknown_model"] == 1
    assert found["autoencoder_pixels_total", "small"] == 8 * 784
    assert found["autoencoder_request_seconds_count", "small", "encode"] == 3
    for stage in ("receive", "decode", "queue", "run", "encode"):
        assert found["autoencoder_stage_seconds_count", stage] == 4, stage
        assert 0 <= found["autoencoder_stage_seconds_sum", stage] < 5, stage
    assert found["autoencoder_batch_samples_count", "small"] == 4
    assert found["autoencoder_batch_samples_sum", "small"] == 8
    assert found["autoencoder_reconstruction_percentile_count", "small"] == 5
    assert found["autoencoder_requests_inside",] == found["autoencoder_pixels_inside",] == 0
    assert found["autoencoder_items_waiting",] == found["autoencoder_packages_refused",] == 0
    assert found["autoencoder_model_info", "small", "fp32", "cpu", "1"] == 1
    assert found["process_resident_memory_bytes",] > 1e6


def test_v2_is_counted_under_the_package_and_what_it_does(fresh: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    sent = {"name": "image", "shape": [2, 28, 28, 1], "datatype": "UINT8", "data": [7] * 1568}
    assert fresh.post("/v2/models/small.reconstruct/infer", json={"inputs": [sent]}).status_code == 200
    assert fresh.post("/v2/models/small/versions/1/infer", json={}).status_code == 422
    assert fresh.post("/v2/models/invented.encode/infer", json={}).status_code == 404
    fresh.get("/v2/health/live")
    fresh.get("/v2/health/ready")
    found = metrics(fresh)
    assert found["autoencoder_requests_total", "small", "reconstruct", "200"] == 1
    assert found["autoencoder_requests_total", "small", "denoise", "422"] == 1
    assert found["autoencoder_requests_total", "", "infer", "404"] == 1
    assert sum(value for key, value in found.items() if key[0] == "autoencoder_requests_total") == 3
    assert (
        found["autoencoder_refused_total", "unknown_model"] == found["autoencoder_refused_total", "invalid_input"] == 1
    )
    assert found["autoencoder_pixels_total", "small"] == 2 * 784
    for stage, count in (("receive", 2), ("decode", 1), ("queue", 1), ("run", 1), ("encode", 1)):
        assert found["autoencoder_stage_seconds_count", stage] == count, stage
    assert found["autoencoder_batch_samples_sum", "small"] == 2
    assert found["autoencoder_reconstruction_percentile_count", "small"] == 2
    told = [(line["model"], line["version"], line["operation"], line.get("reason")) for line in lines(caplog)]
    assert told == [
        ("small", "2", "reconstruct", None),
        ("small", "1", "denoise", "invalid_input"),
        ("", "", "infer", "unknown_model"),
    ]


def test_names_of_callers_never_become_labels(fresh: TestClient) -> None:
    for number in range(20):
        post(fresh, f"/v1/models/name-{number}/encode")
        post(fresh, f"/v2/models/name-{number}/infer")
        fresh.get(f"/v1/models/name-{number}")
    assert "name-" not in fresh.get("/metrics").text


def test_the_tiles_of_a_page_are_counted(fresh: TestClient, models: Path) -> None:
    name = "negative"
    answer = fresh.post(f"/v1/models/{name}/denoise", content=npy(np.zeros((40, 56, 3), np.uint8)))
    assert answer.status_code == 200, answer.text
    assert metrics(fresh)["autoencoder_batch_samples_sum", name] >= 1


def test_metrics_can_be_switched_off(models: Path) -> None:
    with served(models, metrics=False) as client:
        assert client.get("/metrics").status_code == 404
        assert "/metrics" not in client.get("/openapi.json").json()["paths"]


def test_a_histogram_counts_one_by_one_as_all_at_once() -> None:
    values = np.array([0.0, 10, 10.5, 20, 99, 100, 101, np.nan, 5])
    one, all_at_once = Histogram((10.0, 20.0, 100.0)), Histogram((10.0, 20.0, 100.0))
    for value in values.tolist():
        one.observe(value)
    all_at_once.observe_all(values)
    assert one.counts == all_at_once.counts == [3, 2, 2, 2]
    assert one.total == all_at_once.total == 345.5
    assert one.buckets == [("10.0", 3), ("20.0", 5), ("100.0", 7), ("+Inf", 9)]


# --- the log ------------------------------------------------------------------------------------------------


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    form = logs.JsonLines()
    return [orjson.loads(form.format(r)) for r in caplog.records if r.name == "service.access"]


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
    found = json.loads(line)
    assert (found["level"], found["message"]) == ("error", "failed: x")
    assert "ValueError" in found["exception"]


# --- keys ---------------------------------------------------------------------------------------------------


def line(key: str, name: str = "ann", rate: str = "") -> str:
    return f"{name}:{hashlib.sha256(key.encode()).hexdigest()}{rate}\n"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text("# who may ask\n\n" + line("secret") + line("other", "bob", ":2"))
    return path


def test_operations_want_a_key_and_health_does_not(models: Path, keys: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with served(models, keys=keys, log_requests="on") as client:
        for path in ("/v1/models", "/metrics", "/docs", "/openapi.json", "/nothing"):
            assert client.get(path).status_code == 401, path
        assert client.get("/livez").status_code == client.get("/readyz").status_code == 200
        for path in ("/v2/health/live", "/v2/health/ready"):
            assert client.get(path).status_code == 200, path
        for answer in (client.get("/v2"), client.get("/v2/models/small/ready"), post(client, INFER)):
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert list(answer.json()) == ["error"]
        refused = post(client)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.headers["x-content-type-options"] == "nosniff"
        assert post(client, Authorization="Bearer wrong").status_code == 401
        assert post(client, Authorization="Basic secret").status_code == 401
        assert post(client, Authorization="Bearer secret").status_code == 200
        assert post(client, X_API_Key="secret").status_code == 200
        document = client.get("/openapi.json", headers={"X-API-Key": "secret"}).json()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "header"}
    assert document["paths"]["/livez"]["get"]["security"] == []
    assert document["paths"]["/v2/health/ready"]["get"]["security"] == []
    assert "ProtocolError" in str(document["paths"]["/v2"]["get"]["responses"]["401"])
    assert "401" in document["paths"]["/v1/models"]["get"]["responses"]
    assert "secret" not in caplog.text
    assert "wrong" not in caplog.text
    assert [found["key"] for found in lines(caplog) if found["status"] == 200] == ["ann"] * 3


def test_metrics_and_documentation_can_be_left_open(models: Path, keys: Path) -> None:
    with served(models, keys=keys, metrics_without_key=True, docs_without_key=True) as client:
        for path in ("/metrics", "/docs", "/openapi.json"):
            assert client.get(path).status_code == 200, path
        assert client.get("/v1/models").status_code == 401


def test_a_key_has_its_own_rate(models: Path, keys: Path) -> None:
    with served(models, keys=keys) as client:
        assert [post(client, X_API_Key="other").status_code for _ in range(3)] == [200, 200, 429]
        refused = post(client, X_API_Key="other")
        assert refused.headers["retry-after"] == "30"
        assert refused.json()["title"] == "Rate limited"
        assert post(client, X_API_Key="secret").status_code == 200
        found = metrics_of(client, "secret")
        assert 'autoencoder_refused_total{reason="rate_limited"} 2.0' in found


def metrics_of(client: TestClient, key: str) -> str:
    return str(client.get("/metrics", headers={"X-API-Key": key}).text)


def test_keys_change_without_a_restart_and_a_bad_file_changes_nothing(
    models: Path, keys: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "LOOK", 0.0)
    with served(models, keys=keys) as client:
        time.sleep(0.01)
        keys.write_text(line("new", "eve"))
        assert post(client, X_API_Key="new").status_code == 200
        assert post(client, X_API_Key="secret").status_code == 401
        keys.write_text("nonsense\n")
        assert [post(client, X_API_Key="new").status_code for _ in range(3)] == [200] * 3
        keys.unlink()
        assert post(client, X_API_Key="new").status_code == 200
    complaints = [r.message for r in caplog.records if r.name == "service.keys" and r.levelno == logging.ERROR]
    assert len(complaints) == 2
    assert "line 1" in complaints[0]
    assert "nonsense" not in complaints[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no key"),
        ("ann:12", "line 1"),
        (line("a") + line("b"), "already"),
        (line("a", rate=":0"), "1 or more"),
        ("#" * (auth.LONGEST + 1), "larger"),
        (line("a", "a name"), "line 1"),
    ],
)
def test_a_bad_file_of_keys_stops_the_start(models: Path, tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(SettingsError, match=words):
        create_app(Settings(models=models, keys=path))
    with pytest.raises(KeysError, match="cannot be read"):
        Keys(tmp_path / "none")


def test_a_new_key_is_printed_once_with_its_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["key", "ann"]) == 0
    key, made = (text.split(": ", 1)[1] for text in capsys.readouterr().out.splitlines())
    assert len(key) == 43
    assert made + "\n" == line(key)
    (tmp_path / "keys").write_text(made)
    assert auth.read(tmp_path / "keys")[0].name == "ann"
    assert main(["key", "a b"]) == 2
    assert "is no name" in capsys.readouterr().err


# --- browsers -----------------------------------------------------------------------------------------------


def test_pages_of_other_origins_may_ask_only_where_the_setting_says(models: Path, client: TestClient) -> None:
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in post(client, Origin="https://a.example").headers
    assert client.options(ENCODE, headers=asked).status_code == 405
    with served(models, cors_origins="https://a.example, https://b.example") as open_client:
        assert open_client.options(ENCODE, headers=asked).headers["access-control-allow-origin"] == "https://a.example"
        answer = post(open_client, Origin="https://a.example")
        assert "Model-Name" in answer.headers["access-control-expose-headers"]
        assert "access-control-allow-origin" not in post(open_client, Origin="https://c.example").headers


def test_what_is_no_origin_is_refused(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOENCODER_CORS_ORIGINS", "https://a.example,b.example/x")
    with pytest.raises(SettingsError, match=r"b\.example/x"):
        load(models=models)
    monkeypatch.setenv("AUTOENCODER_CORS_ORIGINS", "https://a.example,http://b.example:81")
    assert load(models=models).cors_origins == ("https://a.example", "http://b.example:81")


def test_documentation_can_be_switched_off(models: Path) -> None:
    with served(models, docs=False) as client:
        for path in ("/docs", "/openapi.json", "/redoc", "/static-offline-docs/swagger-ui.css"):
            assert client.get(path).status_code == 404, path
        assert post(client).status_code == 200


# --- traces -------------------------------------------------------------------------------------------------


def test_spans_of_a_request_and_its_stages_continue_the_callers_trace(models: Path) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with served(models, tracing=Tracing(provider)) as client:
        before = time.time_ns()
        post(client, traceparent=PARENT)
        spans = {span.name: span for span in exporter.get_finished_spans()}
    whole = spans.pop("POST encode")
    assert whole.context is not None
    assert whole.parent is not None
    assert f"{whole.context.trace_id:032x}" == PARENT[3:35]
    assert f"{whole.parent.span_id:016x}" == PARENT[36:52]
    assert whole.attributes is not None
    assert whole.attributes["autoencoder.model"] == "small"
    assert whole.start_time is not None
    assert whole.end_time is not None
    assert before - 5_000_000 < whole.start_time < whole.end_time
    assert set(spans) == {"receive", "decode", "queue", "run", "encode"}
    for span in spans.values():
        assert span.parent is not None
        assert span.parent.span_id == whole.context.span_id
        assert span.start_time is not None
        assert span.end_time is not None
        assert whole.start_time <= span.start_time <= span.end_time <= whole.end_time


def test_spans_arrive_at_a_collector(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    received: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
        app = create_app(Settings(models=models, tracing=True))
        with TestClient(app) as client:  # its end sends what waits
            assert post(client, traceparent=PARENT).status_code == 200
        collector.shutdown()
    spans = []
    for path, body in received:
        assert path == "/v1/traces"
        for one in ExportTraceServiceRequest.FromString(body).resource_spans:
            named = {attribute.key: attribute.value.string_value for attribute in one.resource.attributes}
            assert named["service.name"] == "autoencoder-service"
            spans += [span for scope in one.scope_spans for span in scope.spans]
    assert {span.name for span in spans} == {"POST encode", "receive", "decode", "queue", "run", "encode"}
    assert {span.trace_id.hex() for span in spans} == {PARENT[3:35]}


def test_nothing_of_opentelemetry_is_imported_when_it_is_off_and_onnxruntime_sends_nothing() -> None:
    code = (
        "import sys, os, service.app; assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'; "
        "print([m for m in sys.modules if m.startswith('opentelemetry.sdk')])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (made.stdout.strip(), made.returncode) == ("[]", 0), made.stderr


def test_tracing_without_its_extra_is_one_sentence(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingsError, match="extra `tracing`"):
        create_app(Settings(models=models, tracing=True))


# --- pictures -----------------------------------------------------------------------------------------------


def test_a_side_over_its_limit_is_refused_from_the_header(models: Path) -> None:
    import struct
    import zlib

    head = b"IHDR" + struct.pack(">IIBBBBB", 70_000, 1, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n\0\0\0\r" + head + struct.pack(">I", zlib.crc32(head)) + b"\0\0\0\0IDAT\x35\xaf\x06\x1e"
    with served(models) as client:
        refused = client.post(ENCODE, content=data, headers={"Content-Type": "image/png"})
    assert refused.status_code == 413, refused.text
    assert "70000x1" in refused.json()["detail"]
    assert refused.json()["limit"] == 65_535


def test_readers_of_other_formats_cannot_be_reached() -> None:
    import pyvips

    import service.codecs.images  # noqa: F401  (blocks them)

    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
    gif = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;"
    for data in (svg, gif, b"P5 1 1 255 \0", b"%PDF-1.4\n", b"#?RADIANCE\n"):
        with pytest.raises(pyvips.Error):
            pyvips.Image.new_from_buffer(data, "")
    for reader in ("csvload", "rawload", "matrixload", "vipsload", "pngload", "tiffload", "jpegload"):
        options = (4, 4, 1) if reader == "rawload" else ()
        with pytest.raises(pyvips.Error, match="blocked"):
            getattr(pyvips.Image, reader)(__file__, *options)
