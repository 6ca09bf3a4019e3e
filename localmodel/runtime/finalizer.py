"""`Finalizers`: several cleanups of one kind, each with a finalizer of its own (controller-runtime's pkg/finalizer).

A reconciler calls `finalize` with each object it gets. While the object lives, missing finalizers are put on it; once
it is being deleted, each cleanup that is still due runs, and its finalizer is taken off when it has succeeded. Nothing
is written: the result says what the reconciler has to write. A cleanup must bear being run again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeAlias

import structlog

from .controllerutil import add_finalizer, contains_finalizer, remove_finalizer
from .errors import RuntimeLibraryError
from .objects import Object, T
from .selectors import is_qualified_name

log = structlog.get_logger(__name__)

Outcome: TypeAlias = Literal["added", "present", "finalized", "failed", "absent"]
"""Of one key: put on now; there already; cleaned up and taken off now; its cleanup raised; not there (any more)."""


class FinalizerError(RuntimeLibraryError):
    """Several cleanups failed; `errors` has the error of each by its key."""

    def __init__(self, obj: Object, errors: Mapping[str, Exception]) -> None:
        texts = "; ".join(f"{key}: {error}" for key, error in errors.items())
        super().__init__(f"finalizers of {obj} failed, they stay on it: {texts}")
        self.errors = dict(errors)


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalizeResult:
    """What `Finalizers.finalize` did to an object."""

    object: Object = field(repr=False)
    updated: bool
    """Something other than the status has changed, finalizers above all: write it with `update` or `patch`."""
    status_updated: bool
    """A cleanup has changed the status, even if it failed: write it with `status.update` or `status.patch`."""
    outcomes: Mapping[str, Outcome]
    """By key, in the order of registration."""
    errors: Mapping[str, Exception]
    """What the failed cleanups raised."""

    def raise_failure(self) -> None:
        """To be called when the changes are written: raises the error of the cleanup that failed, or a FinalizerError
        if several did, so that the request is tried again."""
        errors = list(self.errors.values())
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise FinalizerError(self.object, self.errors) from errors[0]


class Finalizers(Generic[T]):
    """The cleanups of a kind by their keys. Register all of them before the manager starts."""

    def __init__(self) -> None:
        self._finalizers: dict[str, Callable[[T], object]] = {}

    def register(self, key: str, finalizer: Callable[[T], object]) -> None:
        """`key` is what stands in metadata.finalizers ("example.com/bucket"), `finalizer` cleans up for an object.

        It may change the object, and raises if it has not succeeded. Raises ValueError if the key is taken or would
        not be accepted by the API server.
        """
        if not is_qualified_name(key):
            raise ValueError(f"{key!r} is not a name for a finalizer: write a DNS name, a slash and a name")
        if key in self._finalizers:
            raise ValueError(f"there is a finalizer {key} already")
        self._finalizers[key] = finalizer

    def finalize(self, obj: T) -> FinalizeResult:
        """Puts finalizers on a living object, runs the due ones of an object that is being deleted, in their order.

        One that fails does not keep the next from running.
        """
        before = obj.to_dict()
        outcomes: dict[str, Outcome] = {}
        errors: dict[str, Exception] = {}
        for key, finalizer in self._finalizers.items():
            if not obj.is_deleting:
                outcomes[key] = "added" if add_finalizer(obj, key) else "present"
            elif not contains_finalizer(obj, key):
                outcomes[key] = "absent"
            else:
                outcomes[key] = _clean_up(obj, key, finalizer, errors)
        after = obj.to_dict()
        before_status, after_status = before.pop("status", None), after.pop("status", None)
        return FinalizeResult(
            object=obj,
            updated=before != after,
            status_updated=before_status != after_status,
            outcomes=outcomes,
            errors=errors,
        )


def _clean_up(obj: T, key: str, finalizer: Callable[[T], object], errors: dict[str, Exception]) -> Outcome:
    try:
        finalizer(obj)
    except Exception as error:  # noqa: BLE001 - the result hands it to the reconciler, which raises it
        log.info("Finalizer failed", finalizer=key, error=str(error))
        errors[key] = error
        return "failed"
    remove_finalizer(obj, key)
    return "finalized"
