"""OpenTelemetry traces: a span for each request, with a child span for each of its stages. Extra `tracing`.

RequestRecord (its times are measured in any case) -> spans, made when the request is over -> batches -> OTLP over HTTP

The standard variables OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, ... set the destination,
the service's name and the sampling. Nothing of OpenTelemetry is imported before `configure_tracing`.
"""

import os
import time
from typing import Any

from service.observability.request_record import RequestRecord
from service.settings import SettingsError


class Tracing:
    """Makes spans by a TracerProvider of opentelemetry-sdk."""

    def __init__(self, provider: Any) -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("service")
        self._propagator = TraceContextTextMapPropagator()
        self._set_span_in_context = trace.set_span_in_context
        self._kind = trace.SpanKind.SERVER
        self._error_status = trace.Status(trace.StatusCode.ERROR)

    def record_request(self, record: RequestRecord, method: str, headers: dict[bytes, bytes], end_time: float) -> None:
        """Spans of one request that is over; `end_time` by time.perf_counter, in seconds."""
        offset = time.time_ns() - int(time.perf_counter() * 1e9)  # from that clock to the time of day

        def to_epoch_ns(seconds: float) -> int:
            return offset + int(seconds * 1e9)

        carrier = {
            name: headers[name.encode()].decode("latin-1")
            for name in ("traceparent", "tracestate")
            if name.encode() in headers
        }
        span = self._tracer.start_span(
            f"{method} {record.operation}" if record.operation else method,
            self._propagator.extract(carrier),
            kind=self._kind,
            start_time=to_epoch_ns(record.start_time),
            attributes={
                "http.request.method": method,
                "http.response.status_code": record.status,
                "autoencoder.model": record.model,
                "autoencoder.operation": record.operation,
                "autoencoder.request_id": record.request_id,
            },
        )
        if span.is_recording():
            context = self._set_span_in_context(span)
            for stage, start, end in record.stages:
                self._tracer.start_span(stage, context, start_time=to_epoch_ns(start)).end(to_epoch_ns(end))
            if record.status >= 500:
                span.set_status(self._error_status)
        span.end(to_epoch_ns(end_time))

    def close(self) -> None:
        """Send the spans that are still in the batch."""
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
    has_name = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    resource = Resource.create({} if has_name else {"service.name": "autoencoder-service"})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)
