"""Admission requests and responses (admission.k8s.io/v1), and what a handler may raise in place of an answer.

A `Handler` is a function from the one to the other. `answer` calls it and turns whatever it raises into a response: a
`DeniedError` refuses, an `ApiError` refuses with its Status, another error of this library is a failure (500), and
anything else is an error of programming, which is counted and logged as a panic is in Go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import structlog
from pydantic import ConfigDict, Field, ValidationError

from localmodel.runtime.errors import ApiError, BadRequestError, RuntimeLibraryError, make_status
from localmodel.runtime.metrics import Metrics
from localmodel.runtime.objects import Model, T

from .patch import Operations, json_patch

log = structlog.get_logger(__name__)

Json = dict[str, Any]

Warnings = Iterable[str] | None
"""Shown to the user, whether the request is allowed or not; kubectl prints each on a line. Keep them short: API servers
cut them at 256 characters, and at 4096 in all."""


class Operation(StrEnum):
    """What is done to the object."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    CONNECT = "CONNECT"


class _Part(Model):
    """A part of a request; what it does not declare is dropped."""

    model_config = ConfigDict(extra="ignore")


class GroupVersionKindRef(_Part):
    """metav1.GroupVersionKind."""

    group: str = ""
    version: str = ""
    kind: str = ""


class GroupVersionResource(_Part):
    """metav1.GroupVersionResource."""

    group: str = ""
    version: str = ""
    resource: str = ""


class UserInfo(_Part):
    """Who asks (authentication.k8s.io/v1)."""

    username: str = ""
    uid: str = ""
    groups: list[str] = Field(default_factory=list)
    extra: dict[str, list[str]] = Field(default_factory=dict)


class AdmissionRequest(_Part):
    """What an API server asks. For a test, give it what the handler looks at: operation, object, oldObject."""

    uid: str = ""
    kind: GroupVersionKindRef = Field(default_factory=GroupVersionKindRef)
    resource: GroupVersionResource = Field(default_factory=GroupVersionResource)
    sub_resource: str = ""
    request_kind: GroupVersionKindRef | None = None
    """Of the request as it was made, if the API server has converted it."""
    request_resource: GroupVersionResource | None = None
    request_sub_resource: str = ""
    name: str = ""
    namespace: str = ""
    operation: str = ""
    """One of `Operation`."""
    user_info: UserInfo = Field(default_factory=UserInfo)
    object: Json | None = None
    """The new object; None on DELETE."""
    old_object: Json | None = None
    """The object as it is; on UPDATE and DELETE."""
    dry_run: bool = False
    """Nothing will be stored: a handler with side effects must leave them out."""
    options: Json | None = None
    """CreateOptions, UpdateOptions or DeleteOptions."""

    def decode(self, kind: type[T]) -> T:
        """The new object, typed; raises BadRequestError if there is none or it is not of the type."""
        return _decode(kind, self.object, "object")

    def decode_old(self, kind: type[T]) -> T:
        """The object as it is, typed; raises BadRequestError."""
        return _decode(kind, self.old_object, "oldObject")

    def with_object(self, obj: Json) -> AdmissionRequest:
        """The same request about another new object."""
        return self.model_copy(update={"object": obj})


def _decode(kind: type[T], content: Json | None, part: str) -> T:
    if content is None:
        raise BadRequestError.of(f"there is no {part} to decode in the admission request")
    try:
        return kind.from_dict(content)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors())
        raise BadRequestError.of(f"{part} is not a {kind.mapping.gvk.kind}: {faults}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionResponse:
    """The answer; made by `allowed`, `denied`, `errored` and `patched`."""

    allowed: bool
    status: Json = field(default_factory=dict)
    """The metav1.Status with the code, and the message for the user."""
    patch: Operations = ()
    """RFC 6902 operations that turn the object of the request into the one to store."""
    warnings: tuple[str, ...] = ()
    audit_annotations: dict[str, str] = field(default_factory=dict)
    """Go to the API server's audit log, below the webhook's name."""

    @property
    def code(self) -> int:
        return int(self.status.get("code", 200))

    @property
    def message(self) -> str:
        return str(self.status.get("message", ""))

    def with_warnings(self, warnings: Warnings) -> AdmissionResponse:
        """The same with more warnings."""
        return replace(self, warnings=(*self.warnings, *(warnings or ())))


class DeniedError(RuntimeLibraryError):
    """Raised by a handler: the request is refused (403); the message is for the user."""

    def __init__(self, message: str, *, warnings: Warnings = None) -> None:
        super().__init__(message)
        self.warnings = tuple(warnings or ())


Handler = Callable[[AdmissionRequest], AdmissionResponse]
"""Judges a request, or raises; must not change it. Called by many threads at once."""


def allowed(message: str = "") -> AdmissionResponse:
    status: Json = {"code": 200}
    return AdmissionResponse(allowed=True, status={**status, "message": message} if message else status)


def denied(message: str) -> AdmissionResponse:
    """Refused, as forbidden."""
    return AdmissionResponse(allowed=False, status=make_status("Forbidden", 403, message))


def errored(code: int, error: Exception | str) -> AdmissionResponse:
    """Refused, because the webhook could not judge: `code` is an HTTP code from 400."""
    return AdmissionResponse(allowed=False, status={"status": "Failure", "message": str(error), "code": code})


def patched(original: Json, current: Json, message: str = "") -> AdmissionResponse:
    """Allowed, with the patch that makes `current` of `original`, which is the object of the request."""
    return replace(allowed(message), patch=json_patch(original, current))


def answer(handler: Handler, request: AdmissionRequest, metrics: Metrics) -> AdmissionResponse:
    """What the handler says, or what becomes of that which it raises."""
    try:
        return handler(request)
    except DeniedError as error:
        return denied(str(error)).with_warnings(error.warnings)
    except ApiError as error:
        return AdmissionResponse(allowed=False, status={**error.status, "code": error.code})
    except RuntimeLibraryError as error:
        log.warning("Webhook failed", error=str(error))
        return errored(500, error)
    except Exception as error:
        metrics.webhook_panics.inc()
        log.exception("Webhook panicked")
        return errored(500, f"panic: {error} [recovered]")
