"""Prometheus metrics: counters, histograms and gauges; every name in one place.

requests -> Metrics (plain counters of the event loop) -> a scrape collects them -> text

A request adds to integers and lists only, about a microsecond for each observation: the library's own counters take
a lock and look labels up. Label values come from the service, never from a caller: the name of a model that is
served, else "".
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from service.observability.request_record import RequestRecord

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
STAGE_SECONDS = (0.00005, 0.0001, 0.00025, *SECONDS)
SAMPLES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
MAX_PENDING = 256
PERCENTILES = tuple(float(p) for p in range(10, 101, 10))


@dataclass(frozen=True)
class ServedModel:
    """One version of one model, for `autoencoder_model_info`."""

    model: str
    version: str
    provider: str
    precision: str


@dataclass(frozen=True)
class Gauges:
    """Values that are read at the moment of a scrape."""

    items_waiting: int
    requests_inside: int
    pixels_inside: int
    packages_refused: int
    served_models: Sequence[ServedModel]


class Histogram:
    """Counts by upper bound (inclusive), and the sum; values are counted 256 at once, which costs a tenth."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self._counts = np.zeros(len(bounds) + 1, np.int64)
        self._total = 0.0
        self._pending: list[float] = []

    def observe(self, value: float) -> None:
        """NaN counts above all bounds and adds nothing to the sum."""
        self._pending.append(value)
        if len(self._pending) >= MAX_PENDING:
            self._count_pending()

    def observe_all(self, values: NDArray[np.float64]) -> None:
        """values: [N]"""
        self._pending += values.tolist()
        if len(self._pending) >= MAX_PENDING:
            self._count_pending()

    @property
    def total(self) -> float:
        self._count_pending()
        return self._total

    @property
    def counts(self) -> list[int]:
        """Of each bucket, the last above all bounds."""
        self._count_pending()
        return [int(count) for count in self._counts]

    @property
    def buckets(self) -> list[tuple[str, float]]:
        """As Prometheus has them: cumulative, the last is +Inf."""
        return list(zip((*map(str, self.bounds), "+Inf"), accumulate(self.counts), strict=True))

    def _count_pending(self) -> None:
        values = np.array(self._pending, np.float64)
        self._pending.clear()
        self._counts += np.bincount(np.searchsorted(self.bounds, values), minlength=len(self._counts))
        self._total += float(np.nansum(values))


class Metrics:
    """The counters; belongs to one event loop, and nothing here waits."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, str, int], int] = {}
        self.request_seconds: dict[tuple[str, str], Histogram] = {}
        self.stage_seconds: dict[str, Histogram] = {
            stage: Histogram(STAGE_SECONDS) for stage in ("receive", "decode", "queue", "run", "encode")
        }
        self.batch_samples: dict[str, Histogram] = {}
        self.pixels: dict[str, int] = {}
        self.refusals: dict[str, int] = {}
        self.percentiles: dict[str, Histogram] = {}

    def record_request(self, record: RequestRecord, seconds: float) -> None:
        """Count a request that was answered in so many seconds."""
        model, operation = record.model, record.operation
        key = model, operation, record.status
        self.requests[key] = self.requests.get(key, 0) + 1
        histogram = self.request_seconds.get((model, operation))
        if histogram is None:
            histogram = self.request_seconds[model, operation] = Histogram(SECONDS)
        histogram.observe(seconds)
        for stage, start, end in record.stages:
            self.stage_seconds[stage].observe(end - start)
        if record.pixels:
            self.pixels[model] = self.pixels.get(model, 0) + record.pixels
        if record.reason:
            self.refusals[record.reason] = self.refusals.get(record.reason, 0) + 1

    def record_run(self, model: str, size: int) -> None:
        """Count a run of `size` samples or tiles."""
        histogram = self.batch_samples.get(model)
        if histogram is None:
            histogram = self.batch_samples[model] = Histogram(SAMPLES)
        histogram.observe(size)

    def record_percentiles(self, model: str, percentiles: NDArray[np.float64]) -> None:
        """Count reconstructions; percentiles: [N] of the held-out errors, 0..100."""
        histogram = self.percentiles.get(model)
        if histogram is None:
            histogram = self.percentiles[model] = Histogram(PERCENTILES)
        histogram.observe_all(percentiles)


class Exposition(Collector):
    """The text of a scrape.

    Args:
        metrics: the counters.
        read_gauges: called at each scrape.
    """

    def __init__(self, metrics: Metrics, read_gauges: Callable[[], Gauges]) -> None:
        self._metrics, self._read_gauges = metrics, read_gauges
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """(body, Content-Type), in the format that the header Accept prefers."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry would scrape us to learn our names."""
        return ()

    def collect(self) -> Iterator[Metric]:
        metrics, gauges = self._metrics, self._read_gauges()
        yield _counter(
            "autoencoder_requests",
            "Requests answered",
            ("model", "operation", "status"),
            {(model, operation, str(status)): n for (model, operation, status), n in metrics.requests.items()},
        )
        yield _histogram(
            "autoencoder_request_seconds",
            "From the request's headers to the end of its answer",
            ("model", "operation"),
            metrics.request_seconds,
        )
        yield _histogram(
            "autoencoder_stage_seconds",
            "Parts of a request; decode and encode include the wait for a thread, queue is the wait for the first run",
            ("stage",),
            {(stage,): histogram for stage, histogram in metrics.stage_seconds.items()},
        )
        yield _histogram(
            "autoencoder_batch_samples",
            "Samples or tiles of one run",
            ("model",),
            {(model,): histogram for model, histogram in metrics.batch_samples.items()},
        )
        yield _gauge("autoencoder_items_waiting", "Work items that wait for a thread", gauges.items_waiting)
        yield _gauge("autoencoder_requests_inside", "Operations under way", gauges.requests_inside)
        yield _gauge("autoencoder_pixels_inside", "Pixels or numbers of the requests inside", gauges.pixels_inside)
        yield _counter(
            "autoencoder_pixels",
            "Pixels or numbers of the requests that were let in",
            ("model",),
            {(model,): n for model, n in metrics.pixels.items()},
        )
        yield _counter(
            "autoencoder_refused",
            "Requests answered by a problem document, by its title",
            ("reason",),
            {(reason,): n for reason, n in metrics.refusals.items()},
        )
        info = GaugeMetricFamily(
            "autoencoder_model_info",
            "1 for each version that is served",
            labels=("model", "version", "provider", "precision"),
        )
        for model in gauges.served_models:
            info.add_metric((model.model, model.version, model.provider, model.precision), 1)
        yield info
        yield _histogram(
            "autoencoder_reconstruction_percentile",
            "Reconstruction error of what was sent, as a percentile of the held-out errors; even when nothing drifts",
            ("model",),
            {(model,): histogram for model, histogram in metrics.percentiles.items()},
        )
        yield _gauge("autoencoder_packages_refused", "Packages that are not served", gauges.packages_refused)


def _counter(name: str, documentation: str, labels: Sequence[str], values: dict[tuple[str, ...], int]) -> Metric:
    family = CounterMetricFamily(name, documentation, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _gauge(name: str, documentation: str, value: int) -> Metric:
    return GaugeMetricFamily(name, documentation, value=value)


def _histogram(
    name: str,
    documentation: str,
    labels: Sequence[str],
    values: "dict[tuple[str, str], Histogram] | dict[tuple[str], Histogram]",
) -> Metric:
    family = HistogramMetricFamily(name, documentation, labels=labels)
    for key, histogram in values.items():
        family.add_metric(key, histogram.buckets, histogram.total)
    return family
