"""Typed errors: what the API server answered, and what a reconciler may raise.

An `ApiError` carries the Status object of the answer. Its subclass is chosen by the Status reason, else by the HTTP
code, so that `except NotFoundError` reads as `apierrors.IsNotFound` does in Go.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self


class RuntimeLibraryError(Exception):
    """Base of everything this library raises on purpose."""


class TerminalError(RuntimeLibraryError):
    """Raised by a reconciler: trying again would not help, so the request is not queued again."""


class CacheNotStartedError(RuntimeLibraryError):
    """The cache was read before it was started."""


class CacheSyncTimeoutError(RuntimeLibraryError):
    """A source did not deliver its first list in time; the message names the kind and the last reason."""


class UnindexedFieldError(RuntimeLibraryError):
    """A cached list asked for a field selector or index that no indexer serves."""


class NoKindMatchError(RuntimeLibraryError):
    """The server serves no such kind (meta.NoKindMatchError)."""


class StaleCacheError(RuntimeLibraryError):
    """The cache has not seen a write of ours in time: trying again later is right."""


class TransportError(RuntimeLibraryError):
    """No answer from the API server: refused, reset, timed out. For a write, it may or may not have happened."""


class ApiError(RuntimeLibraryError):
    """An answer that is not a success. `status` is the Status object, `code` the HTTP code, `reason` its reason."""

    reason_name: ClassVar[str] = ""
    default_code: ClassVar[int] = 500

    def __init__(self, status: dict[str, Any]) -> None:
        self.status = status
        self.code = int(status.get("code") or self.default_code)
        self.reason = str(status.get("reason") or self.reason_name)
        self.warnings: tuple[str, ...] = ()
        """What a server found odd about the request beside the error; they travel as Warning headers."""
        super().__init__(str(status.get("message") or f"the API server answered {self.code} {self.reason}"))

    @classmethod
    def of(
        cls, message: str, *, code: int | None = None, details: dict[str, Any] | None = None, reason: str | None = None
    ) -> Self:
        """An error of this class with a Status made from the message."""
        return cls(make_status(reason or cls.reason_name, code or cls.default_code, message, details))

    @property
    def retry_after(self) -> int | None:
        """Seconds the server asked to wait (details.retryAfterSeconds, filled from the Retry-After header)."""
        seconds = (self.status.get("details") or {}).get("retryAfterSeconds")
        return int(seconds) if seconds else None

    @property
    def causes(self) -> list[dict[str, Any]]:
        return list((self.status.get("details") or {}).get("causes") or [])


class BadRequestError(ApiError):
    reason_name, default_code = "BadRequest", 400


class UnauthorizedError(ApiError):
    reason_name, default_code = "Unauthorized", 401


class ForbiddenError(ApiError):
    reason_name, default_code = "Forbidden", 403


class NotFoundError(ApiError):
    reason_name, default_code = "NotFound", 404


class MethodNotAllowedError(ApiError):
    reason_name, default_code = "MethodNotAllowed", 405


class NotAcceptableError(ApiError):
    reason_name, default_code = "NotAcceptable", 406


class AlreadyExistsError(ApiError):
    reason_name, default_code = "AlreadyExists", 409


class ConflictError(ApiError):
    """The object changed since it was read, or another field manager owns a field."""

    reason_name, default_code = "Conflict", 409


class ExpiredError(ApiError):
    """The resource version or continue token is too old (410): list again."""

    reason_name, default_code = "Expired", 410


class RequestEntityTooLargeError(ApiError):
    reason_name, default_code = "RequestEntityTooLarge", 413


class UnsupportedMediaTypeError(ApiError):
    reason_name, default_code = "UnsupportedMediaType", 415


class InvalidError(ApiError):
    """The object is well-formed but not valid (422); `causes` names the fields."""

    reason_name, default_code = "Invalid", 422


class TooManyRequestsError(ApiError):
    reason_name, default_code = "TooManyRequests", 429


class InternalError(ApiError):
    reason_name, default_code = "InternalError", 500


class ServiceUnavailableError(ApiError):
    reason_name, default_code = "ServiceUnavailable", 503


class ServerTimeoutError(ApiError):
    """The server could not finish in time; also the answer to a resource version it has not seen yet."""

    reason_name, default_code = "Timeout", 504


_CLASSES: tuple[type[ApiError], ...] = (
    BadRequestError,
    UnauthorizedError,
    ForbiddenError,
    NotFoundError,
    MethodNotAllowedError,
    NotAcceptableError,
    AlreadyExistsError,
    ConflictError,
    ExpiredError,
    RequestEntityTooLargeError,
    UnsupportedMediaTypeError,
    InvalidError,
    TooManyRequestsError,
    InternalError,
    ServiceUnavailableError,
    ServerTimeoutError,
)
_BY_REASON = {cls.reason_name: cls for cls in _CLASSES} | {"Gone": ExpiredError}
_BY_CODE = {cls.default_code: cls for cls in reversed(_CLASSES)} | {409: ConflictError}


def make_status(reason: str, code: int, message: str, details: dict[str, Any] | None = None) -> dict[str, Any]:
    """A failure Status object (metav1.Status)."""
    status: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    if details:
        status["details"] = details
    return status


class ObjectDecodeError(RuntimeLibraryError):
    """The bytes of an object are not one of the wanted type; the message names object and field."""


def error_from_status(status: dict[str, Any], *, code: int | None = None) -> ApiError:
    """The typed error of a Status object (or of an HTTP code with an unreadable body)."""
    number = int(status.get("code") or code or 500)
    cls = _BY_REASON.get(str(status.get("reason"))) or _BY_CODE.get(number) or ApiError
    return cls({**status, "code": number})


_TOO_LARGE = "Too large resource version"


def is_too_large_resource_version(error: Exception) -> bool:
    """All three shapes in which servers say that a resource version lies in the future (runtimes.md 2.1 no. 4)."""
    if not isinstance(error, ApiError):
        return False
    if any(c.get("reason") == "ResourceVersionTooLarge" for c in error.causes):
        return True
    if any(_TOO_LARGE in str(c.get("message", "")) for c in error.causes):
        return True
    return isinstance(error, ServerTimeoutError) and _TOO_LARGE in str(error)
