"""The request record: stages with their times."""

from service.observability.request_record import RECORD_KEY, RequestRecord, request_record


def test_a_stage_begins_where_the_last_one_ended_and_is_recorded_when_it_ends() -> None:
    record = RequestRecord()
    record.start_stage()
    record.end_stage("receive")
    record.end_stage("queue", 1e12)
    record.end_stage("run", 2e12)
    (receive, start, end), *others = record.stages
    assert receive == "receive"
    assert record.start_time <= start <= end
    assert others == [("queue", end, 1e12), ("run", 1e12, 2e12)]


def test_a_stage_that_does_not_end_is_not_recorded_and_the_next_can_begin_later() -> None:
    record = RequestRecord()
    record.start_stage()
    record.start_stage()
    record.end_stage("run")
    ((stage, start, end),) = record.stages
    assert stage == "run"
    assert record.start_time < start <= end


def test_a_request_without_middleware_has_a_record_of_its_own() -> None:
    record = RequestRecord()
    assert request_record({RECORD_KEY: record}) is record
    assert request_record({}) is not request_record({})
