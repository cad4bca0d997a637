"""Errors of requests: each is a type with a status, a title and one public sentence.

ServiceError
├── MalformedBody          400  not the JSON, .npy or form that its media type declares
├── MalformedRequest       400  not HTTP
├── Unauthorized           401  no key, or an unknown one
├── UnknownModel           404
├── UnknownVersion         404
├── UnknownOperation       404
├── NotAcceptable          406  no media type of the response is in Accept
├── TooSlow                408  headers or body were not received in time
├── OperationMissing       409  the package has other operations
├── IndexMissing           409  the package has no index of neighbours
├── LatentMismatch         409  latents of another model or version
├── TooLarge               413  body, pixels, batch: over a limit
├── UnsupportedMediaType   415
│   └── UnsupportedEncoding 415  a compressed body
├── InvalidInput           422  shape, dtype, values, picture: well-formed but not usable
├── Overloaded             429  too many requests in progress; has Retry-After
├── HeadersTooLarge        431
├── RateLimited            429  the key's rate limit is reached; has Retry-After
├── ModelFailed            500  the runtime failed on a valid input: a fault of the service, not of the request
├── TooManyConnections     503  all connections have requests in progress; has Retry-After
├── NotReady               503  no model is usable, or the service is stopping
└── DeadlineExceeded       504  the request took longer than its deadline

ServiceError -> `problem` (RFC 9457) -> service.api.error_handlers, or service.server.connection before a request is
read. The sentence is public: it names the fault and what is allowed, never a path, a trace or another caller's data.
"""

from collections.abc import Sequence
from typing import ClassVar

PROBLEM_MEDIA_TYPE = "application/problem+json"


class ServiceError(Exception):
    """Root of all errors that a request can cause.

    Args:
        detail: one public sentence, two at most: the fault, and what is allowed.
        facts: further members of the problem document, JSON values, for programs.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Service error"

    def __init__(self, detail: str, **facts: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts = facts

    @property
    def headers(self) -> dict[str, str]:
        """Response headers that belong to this error."""
        return {}

    def problem(self, instance: str) -> dict[str, object]:
        """Members of this error's problem document; `instance` is the path of the request, "" if none is known."""
        return problem(instance, self.status, self.title, self.detail, **self.facts)


def problem(instance: str, status: int, title: str, detail: str, **facts: object) -> dict[str, object]:
    """Members of a problem document (RFC 9457); `instance` is the path of the request, "" if none is known."""
    return {
        "type": "urn:autoencoder:" + title.lower().replace(" ", "-"),
        "title": title,
        "status": status,
        "detail": detail,
        "instance": instance,
        **facts,
    }


class MalformedBody(ServiceError):
    status = 400
    title = "Malformed body"


class MalformedRequest(ServiceError):
    status = 400
    title = "Malformed request"


class Unauthorized(ServiceError):
    status = 401
    title = "Unauthorized"

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class UnknownModel(ServiceError):
    status = 404
    title = "Unknown model"


class UnknownVersion(ServiceError):
    status = 404
    title = "Unknown version"


class UnknownOperation(ServiceError):
    status = 404
    title = "Unknown operation"


class NotAcceptable(ServiceError):
    status = 406
    title = "Not acceptable"


class TooSlow(ServiceError):
    status = 408
    title = "Too slow"


class OperationMissing(ServiceError):
    status = 409
    title = "Operation missing"


class LatentMismatch(ServiceError):
    status = 409
    title = "Latents of another model"


class IndexMissing(ServiceError):
    status = 409
    title = "Index missing"


class TooLarge(ServiceError):
    status = 413
    title = "Too large"


class UnsupportedMediaType(ServiceError):
    """The request's media type is not supported.

    Args:
        detail: one public sentence.
        media_types: those that are supported, for the member `accepted` and the header Accept-Post (W3C LDP 7.1).
    """

    status = 415
    title = "Unsupported media type"

    def __init__(self, detail: str, media_types: Sequence[str]) -> None:
        super().__init__(detail, accepted=list(media_types))
        self.media_types = media_types

    @property
    def headers(self) -> dict[str, str]:
        return {"Accept-Post": ", ".join(self.media_types)}


class UnsupportedEncoding(UnsupportedMediaType):
    """The body is compressed: `encoding` is the header Content-Encoding. Accept-Encoding says what is taken (RFC 9110,
    15.5.16).
    """

    def __init__(self, encoding: str) -> None:
        super().__init__(
            f"the body has Content-Encoding {encoding[:100]!r}, which is not accepted; send it uncompressed, without "
            "that header",
            media_types=["identity"],
        )

    @property
    def headers(self) -> dict[str, str]:
        return {"Accept-Encoding": "identity"}


class InvalidInput(ServiceError):
    status = 422
    title = "Invalid input"


class Overloaded(ServiceError):
    status = 429
    title = "Overloaded"

    def __init__(self, detail: str, retry_after: int = 1) -> None:
        super().__init__(detail, retry_after=retry_after)
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after)}


class HeadersTooLarge(ServiceError):
    status = 431
    title = "Headers too large"


class RateLimited(Overloaded):
    title = "Rate limited"


class ModelFailed(ServiceError):
    status = 500
    title = "Model failed"


class TooManyConnections(Overloaded):
    status = 503
    title = "Too many connections"


class NotReady(ServiceError):
    status = 503
    title = "Not ready"


class DeadlineExceeded(ServiceError):
    status = 504
    title = "Deadline exceeded"
