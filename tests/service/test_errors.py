"""Errors of requests: the drawn tree, statuses, headers, the problem document."""

import re
from collections.abc import Iterator

from service import errors
from service.errors import Overloaded, ServiceError, Unauthorized, UnsupportedMediaType


def subclasses(root: type[ServiceError]) -> Iterator[type[ServiceError]]:
    for subclass in root.__subclasses__():
        yield subclass
        yield from subclasses(subclass)


def test_the_tree_of_the_docstring_has_every_error_with_its_status() -> None:
    tree = dict(re.findall(r"── (\w+) +(\d{3})", errors.__doc__ or ""))
    assert tree == {error.__name__: str(error.status) for error in subclasses(ServiceError)}


def test_a_problem_document_has_the_facts_and_no_more() -> None:
    document = Overloaded("full", retry_after=3).problem("/v1/models")
    assert document == {
        "type": "urn:autoencoder:overloaded",
        "title": "Overloaded",
        "status": 429,
        "detail": "full",
        "instance": "/v1/models",
        "retry_after": 3,
    }


def test_headers_that_belong_to_an_error() -> None:
    assert Overloaded("full", retry_after=3).headers == {"Retry-After": "3"}
    assert Unauthorized("a key is required").headers == {"WWW-Authenticate": "Bearer"}
    assert UnsupportedMediaType("no", ["image/png", "image/jpeg"]).headers == {"Accept-Post": "image/png, image/jpeg"}
    assert ServiceError("bug").headers == {}
