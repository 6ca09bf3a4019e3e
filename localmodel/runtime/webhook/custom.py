"""Webhooks of one type: `CustomDefaulter` fills in, `CustomValidator` judges, and functions that make handlers of them.

The rules are those of controller-runtime's admission: a defaulter is not asked on DELETE, and a validator not on
CONNECT. An object that cannot be read as the type is refused with 400.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Generic

from localmodel.runtime.objects import T

from .admission import AdmissionRequest, AdmissionResponse, Handler, Operation, Warnings, allowed, errored, patched
from .patch import carry_changes


class CustomDefaulter(ABC, Generic[T]):
    """Fills in what the user left out."""

    @abstractmethod
    def default(self, obj: T, request: AdmissionRequest) -> None:
        """Changes `obj` in place, always to the same end: an API server may ask again about the result.

        Raises DeniedError or ApiError to refuse.
        """


class CustomValidator(ABC, Generic[T]):
    """Judges an object: raises DeniedError or ApiError to refuse, returns warnings or None to let it pass.

    Everything passes that a subclass does not judge.
    """

    def validate_create(self, obj: T, request: AdmissionRequest) -> Warnings:  # noqa: ARG002
        return None

    def validate_update(self, old: T, new: T, request: AdmissionRequest) -> Warnings:  # noqa: ARG002
        return None

    def validate_delete(self, obj: T, request: AdmissionRequest) -> Warnings:  # noqa: ARG002
        return None


def defaulting_handler(kind: type[T], defaulter: CustomDefaulter[T]) -> Handler:
    """Answers with a patch of what the defaulter changed; fields unknown to the type stay (runtimes.md no. 205)."""

    def handle(request: AdmissionRequest) -> AdmissionResponse:
        if request.operation == Operation.DELETE:
            return allowed()
        obj = request.decode(kind)
        original = request.object or {}
        before = obj.to_dict()
        defaulter.default(obj, request)
        return patched(original, carry_changes(original, before, obj.to_dict()))

    return handle


def validating_handler(kind: type[T], validator: CustomValidator[T]) -> Handler:
    """Asks the method for the operation."""

    def handle(request: AdmissionRequest) -> AdmissionResponse:
        match request.operation:
            case Operation.CREATE:
                warnings = validator.validate_create(request.decode(kind), request)
            case Operation.UPDATE:
                warnings = validator.validate_update(request.decode_old(kind), request.decode(kind), request)
            case Operation.DELETE:
                warnings = validator.validate_delete(request.decode_old(kind), request)
            case Operation.CONNECT:
                warnings = None
            case unknown:
                return errored(400, f"unknown operation {unknown!r}")
        return allowed().with_warnings(warnings)

    return handle
