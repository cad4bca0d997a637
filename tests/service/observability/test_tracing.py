"""OpenTelemetry traces."""

import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.testclient import TestClient

from service.app import create_app
from service.observability.tracing import Tracing
from service.settings import Settings, SettingsError
from tests.service.http import PARENT, post, served


def test_spans_of_a_request_and_its_stages_continue_the_callers_trace(models: Path) -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with served(models, tracing=Tracing(provider)) as client:
        start_ns = time.time_ns()
        post(client, traceparent=PARENT)
        spans = {span.name: span for span in exporter.get_finished_spans()}
    request_span = spans.pop("POST encode")
    assert request_span.context is not None
    assert request_span.parent is not None
    assert f"{request_span.context.trace_id:032x}" == PARENT[3:35]
    assert f"{request_span.parent.span_id:016x}" == PARENT[36:52]
    assert request_span.attributes is not None
    assert request_span.attributes["autoencoder.model"] == "small"
    assert request_span.start_time is not None
    assert request_span.end_time is not None
    assert start_ns - 5_000_000 < request_span.start_time < request_span.end_time
    assert set(spans) == {"receive", "decode", "queue", "run", "encode"}
    for span in spans.values():
        assert span.parent is not None
        assert span.parent.span_id == request_span.context.span_id
        assert span.start_time is not None
        assert span.end_time is not None
        assert request_span.start_time <= span.start_time <= span.end_time <= request_span.end_time


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
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            named = {attribute.key: attribute.value.string_value for attribute in resource.resource.attributes}
            assert named["service.name"] == "autoencoder-service"
            spans += [span for scope in resource.scope_spans for span in scope.spans]
    assert {span.name for span in spans} == {"POST encode", "receive", "decode", "queue", "run", "encode"}
    assert {span.trace_id.hex() for span in spans} == {PARENT[3:35]}


def test_nothing_of_opentelemetry_is_imported_when_it_is_off_and_onnxruntime_sends_nothing() -> None:
    code = (
        "import sys, os, service.app; assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'; "
        "print([m for m in sys.modules if m.startswith('opentelemetry.sdk')])"
    )
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (process.stdout.strip(), process.returncode) == ("[]", 0), process.stderr


def test_tracing_without_its_extra_is_one_sentence(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingsError, match="extra `tracing`"):
        create_app(Settings(models=models, tracing=True))
