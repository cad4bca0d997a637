"""Prometheus metrics: every name in one place.

requests -> Metrics (plain counters of the event loop) -> a scrape collects them -> text

On the way of a request there are integers and lists only, about a microsecond for each observation: the library's
own counters take a lock and look labels up. Label values come from the service, never from a caller: a model's name
counts when it is served, everything else is "".
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

from service.observability.request_record import Seen

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
STAGE_SECONDS = (0.00005, 0.0001, 0.00025, *SECONDS)
SAMPLES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
FOLD = 256
PERCENTILES = tuple(float(p) for p in range(10, 101, 10))


@dataclass(frozen=True)
class Served:
    """One version of one model, for `autoencoder_model_info`."""

    model: str
    version: str
    provider: str
    precision: str


@dataclass(frozen=True)
class Now:
    """What is read at the moment of a scrape."""

    items_waiting: int
    requests_inside: int
    pixels_inside: int
    packages_refused: int
    served: Sequence[Served]


class Histogram:
    """Counts by upper bound (inclusive), and the sum; what is new is counted 256 at once, which costs a tenth."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self._counts = np.zeros(len(bounds) + 1, np.int64)
        self._total = 0.0
        self._new: list[float] = []

    def observe(self, value: float) -> None:
        """NaN counts above all bounds and adds nothing to the sum."""
        self._new.append(value)
        if len(self._new) >= FOLD:
            self._fold()

    def observe_all(self, values: NDArray[np.float64]) -> None:
        """values: [N]"""
        self._new += values.tolist()
        if len(self._new) >= FOLD:
            self._fold()

    @property
    def total(self) -> float:
        self._fold()
        return self._total

    @property
    def counts(self) -> list[int]:
        """Of each bucket, the last above all bounds."""
        self._fold()
        return [int(count) for count in self._counts]

    @property
    def buckets(self) -> list[tuple[str, float]]:
        """As Prometheus has them: cumulative, the last is +Inf."""
        return list(zip((*map(str, self.bounds), "+Inf"), accumulate(self.counts), strict=True))

    def _fold(self) -> None:
        values = np.array(self._new, np.float64)
        self._new.clear()
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
        self.refused: dict[str, int] = {}
        self.percentiles: dict[str, Histogram] = {}

    def request(self, seen: Seen, seconds: float) -> None:
        """One request that was answered."""
        model, operation = seen.model, seen.operation
        key = model, operation, seen.status
        self.requests[key] = self.requests.get(key, 0) + 1
        histogram = self.request_seconds.get((model, operation))
        if histogram is None:
            histogram = self.request_seconds[model, operation] = Histogram(SECONDS)
        histogram.observe(seconds)
        for stage, start, end in seen.stages:
            self.stage_seconds[stage].observe(end - start)
        if seen.pixels:
            self.pixels[model] = self.pixels.get(model, 0) + seen.pixels
        if seen.reason:
            self.refused[seen.reason] = self.refused.get(seen.reason, 0) + 1

    def ran(self, model: str, size: int) -> None:
        """One run of `size` samples or tiles."""
        histogram = self.batch_samples.get(model)
        if histogram is None:
            histogram = self.batch_samples[model] = Histogram(SAMPLES)
        histogram.observe(size)

    def reconstructed(self, model: str, percentiles: NDArray[np.float64]) -> None:
        """percentiles: [N] of the held-out errors, 0..100."""
        histogram = self.percentiles.get(model)
        if histogram is None:
            histogram = self.percentiles[model] = Histogram(PERCENTILES)
        histogram.observe_all(percentiles)


class Exposition(Collector):
    """The text of a scrape.

    Args:
        metrics: the counters.
        now: called at each scrape.
    """

    def __init__(self, metrics: Metrics, now: Callable[[], Now]) -> None:
        self._metrics, self._now = metrics, now
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self, accept: str) -> tuple[bytes, str]:
        """(body, Content-Type), in the form of the header Accept."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry would scrape us to learn our names."""
        return ()

    def collect(self) -> Iterator[Metric]:
        metrics, now = self._metrics, self._now()
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
        yield _gauge("autoencoder_items_waiting", "Work items that wait for a thread", now.items_waiting)
        yield _gauge("autoencoder_requests_inside", "Operations under way", now.requests_inside)
        yield _gauge("autoencoder_pixels_inside", "Pixels or numbers of the requests inside", now.pixels_inside)
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
            {(reason,): n for reason, n in metrics.refused.items()},
        )
        info = GaugeMetricFamily(
            "autoencoder_model_info",
            "1 for each version that is served",
            labels=("model", "version", "provider", "precision"),
        )
        for served in now.served:
            info.add_metric((served.model, served.version, served.provider, served.precision), 1)
        yield info
        yield _histogram(
            "autoencoder_reconstruction_percentile",
            "Reconstruction error of what was sent, as a percentile of the held-out errors; even when nothing drifts",
            ("model",),
            {(model,): histogram for model, histogram in metrics.percentiles.items()},
        )
        yield _gauge("autoencoder_packages_refused", "Packages that are not served", now.packages_refused)


def _counter(name: str, about: str, labels: Sequence[str], values: dict[tuple[str, ...], int]) -> Metric:
    family = CounterMetricFamily(name, about, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _gauge(name: str, about: str, value: int) -> Metric:
    return GaugeMetricFamily(name, about, value=value)


def _histogram(
    name: str,
    about: str,
    labels: Sequence[str],
    values: "dict[tuple[str, str], Histogram] | dict[tuple[str], Histogram]",
) -> Metric:
    family = HistogramMetricFamily(name, about, labels=labels)
    for key, histogram in values.items():
        family.add_metric(key, histogram.buckets, histogram.total)
    return family
