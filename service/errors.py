"""Everything that can be wrong with a request: a type, a status, and a sentence for the person who sent it.

ServiceError
├── MalformedBody          400  not the JSON, .npy or form it says it is
├── MalformedRequest       400  not HTTP
├── Unauthorized           401  no key, or one that is not known
├── UnknownModel           404
├── UnknownVersion         404
├── UnknownOperation       404
├── NotAcceptable          406  none of the answer's forms is in Accept
├── TooSlow                408  headers or body did not come in their time
├── OperationMissing       409  the package has other operations
├── LatentMismatch         409  latents of another model or version
├── TooLarge               413  body, pixels, batch: over a limit
├── UnsupportedMediaType   415
├── InvalidInput           422  shape, dtype, values, picture: understood but not usable
├── Overloaded             429  full; comes with Retry-After
├── HeadersTooLarge        431
├── RateLimited            429  the key was used more often than it may be; comes with Retry-After
├── ModelFailed            500  the runtime failed on an input that fits the model's ports: ours, not the sender's
├── TooManyConnections     503  all have requests in hand; comes with Retry-After
├── NotReady               503  models are still being opened, none is usable, or the service is stopping
└── DeadlineExceeded       504  the request took longer than it was given

ServiceError -> `problem` (RFC 9457) -> service.api.error_handlers, or service.server.connection before a request is
read. The sentence is public: it names what was wrong and what is allowed, and never a path, a trace or another
caller's data.
"""

from collections.abc import Sequence
from typing import ClassVar

PROBLEM_MEDIA_TYPE = "application/problem+json"


class ServiceError(Exception):
    """Root of all errors that a request can cause.

    Args:
        detail: one public sentence (two at most): what was wrong, what is allowed.
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


class TooLarge(ServiceError):
    status = 413
    title = "Too large"


class UnsupportedMediaType(ServiceError):
    """Args: detail; accepted: media types that are taken, also told in the header Accept-Post (W3C LDP 7.1)."""

    status = 415
    title = "Unsupported media type"

    def __init__(self, detail: str, accepted: Sequence[str]) -> None:
        super().__init__(detail, accepted=list(accepted))
        self.accepted = accepted

    @property
    def headers(self) -> dict[str, str]:
        return {"Accept-Post": ", ".join(self.accepted)}


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
