"""Several handlers behind one path."""

from __future__ import annotations

from dataclasses import replace

from .admission import AdmissionRequest, AdmissionResponse, Handler, allowed
from .patch import apply_patch


def mutating_handlers(*handlers: Handler) -> Handler:
    """Runs them in order, each on the result of the one before, up to the first refusal; the patches are one after the
    other, the warnings together."""

    def handle(request: AdmissionRequest) -> AdmissionResponse:
        total = allowed()
        for handler in handlers:
            response = handler(request)
            total = _joined(total, response)
            if not response.allowed:
                return replace(total, patch=())
            if response.patch:
                request = request.with_object(apply_patch(request.object or {}, response.patch))
        return total

    return handle


def validating_handlers(*handlers: Handler) -> Handler:
    """Asks them in order, up to the first refusal; the warnings are put together."""

    def handle(request: AdmissionRequest) -> AdmissionResponse:
        total = allowed()
        for handler in handlers:
            response = handler(request)
            total = replace(_joined(total, response), patch=())
            if not response.allowed:
                break
        return total

    return handle


def _joined(total: AdmissionResponse, response: AdmissionResponse) -> AdmissionResponse:
    return replace(
        response,
        patch=(*total.patch, *response.patch),
        warnings=(*total.warnings, *response.warnings),
        audit_annotations={**total.audit_annotations, **response.audit_annotations},
    )
