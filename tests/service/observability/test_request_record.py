"""The request record: stages with their times."""

import pytest

from service.observability.request_record import RECORD_KEY, RequestRecord, request_record


def test_a_stage_has_its_times_unless_the_block_raises() -> None:
    record = RequestRecord()
    with record.stage("receive"):
        pass
    with pytest.raises(ValueError, match="no picture"), record.stage("decode"):
        raise ValueError("no picture")
    with record.stage("run"):
        pass
    (receive, start, end), (run, run_start, run_end) = record.stages
    assert (receive, run) == ("receive", "run")
    assert record.start_time <= start <= end <= run_start <= run_end


def test_a_request_without_middleware_has_a_record_of_its_own() -> None:
    record = RequestRecord()
    assert request_record({RECORD_KEY: record}) is record
    assert request_record({}) is not request_record({})
