"""Statistics of models: requests, samples and runs."""

from pathlib import Path

import pytest

from service.errors import InvalidInput
from service.model import package
from service.model.runtime import Model
from service.observability.statistics import Statistics


def test_requests_are_counted_as_successes_with_their_samples_or_as_failures(signal_models: Path) -> None:
    statistics, model = Statistics(), Model(package.read(signal_models / "signal" / "1"))
    with statistics.time_request(model, "encode") as timer:
        timer.samples = 3

    def fail() -> None:
        with statistics.time_request(model, "encode") as timer:
            timer.samples = 5
            raise InvalidInput("no picture")

    with pytest.raises(InvalidInput):
        fail()
    statistics.record_run(model, "encode", 70)
    counts = statistics.counts(model, "encode")
    assert (counts.successes, counts.failures, counts.samples) == (1, 1, 3)
    assert (counts.runs, counts.run_ns) == (1, 70)
    assert min(counts.success_ns, counts.failure_ns, counts.last_request_ms) > 0
    assert statistics.counts(model, "decode").last_request_ms == 0
