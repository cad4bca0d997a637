"""OpenTelemetry traces: a span for each request, and one in it for each of its stages. Extra `tracing`.

Seen (times that were taken anyhow) -> spans, made when the request is over -> batches -> OTLP over HTTP

The standard variables OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER ... say where to, as whom
and how many. Nothing of OpenTelemetry is imported before `configure_tracing`.
"""

import os
import time
from typing import Any

from service.observability.request_record import Seen
from service.settings import SettingsError


class Tracing:
    """Makes spans by a TracerProvider of opentelemetry-sdk."""

    def __init__(self, provider: Any) -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("service")
        self._propagator = TraceContextTextMapPropagator()
        self._within = trace.set_span_in_context
        self._kind = trace.SpanKind.SERVER
        self._failed = trace.Status(trace.StatusCode.ERROR)

    def request(self, seen: Seen, method: str, headers: dict[bytes, bytes], ended: float) -> None:
        """Spans of one request that is over; `ended` by time.perf_counter, in seconds."""
        offset = time.time_ns() - int(time.perf_counter() * 1e9)  # of that clock to the wall's

        def at(seconds: float) -> int:
            return offset + int(seconds * 1e9)

        carrier = {
            name: headers[name.encode()].decode("latin-1")
            for name in ("traceparent", "tracestate")
            if name.encode() in headers
        }
        span = self._tracer.start_span(
            f"{method} {seen.operation}" if seen.operation else method,
            self._propagator.extract(carrier),
            kind=self._kind,
            start_time=at(seen.started),
            attributes={
                "http.request.method": method,
                "http.response.status_code": seen.status,
                "autoencoder.model": seen.model,
                "autoencoder.operation": seen.operation,
                "autoencoder.request_id": seen.request_id,
            },
        )
        if span.is_recording():
            within = self._within(span)
            for stage, start, end in seen.stages:
                self._tracer.start_span(stage, within, start_time=at(start)).end(at(end))
            if seen.status >= 500:
                span.set_status(self._failed)
        span.end(at(ended))

    def close(self) -> None:
        """Send what waits."""
        self._provider.shutdown()


def configure_tracing() -> Tracing:
    """Traces to OTLP; raises SettingsError if the extra is not installed."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as missing:
        raise SettingsError(
            "AUTOENCODER_TRACING=true needs the extra `tracing`: pip install 'autoencoder-service[tracing]'"
        ) from missing
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    resource = Resource.create({} if named else {"service.name": "autoencoder-service"})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)
