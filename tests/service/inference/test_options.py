"""Options of a request: their defaults change nothing, and each one has a query parameter."""

from dataclasses import fields

from service.api.query import PARAMETERS
from service.inference.options import DEFAULT, Options


def test_each_option_has_a_parameter_of_its_name() -> None:
    names = list(PARAMETERS)
    assert sorted(names) == sorted(field.name for field in fields(Options))


def test_the_defaults_leave_a_request_as_it_is() -> None:
    assert Options(fit=None, strength=1.0, dpi=None, explain=None, false_alarm_rate=None) == DEFAULT
