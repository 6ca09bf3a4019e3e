"""Status conditions, as apimachinery's `meta.SetStatusCondition` and its siblings keep them.

A condition's `last_transition_time` says since when its status is what it is: it moves only when the status does. The
list is a status's own, changed in place; nothing is written.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from .clock import Clock, RealClock
from .objects import Condition

ConditionStatus = Literal["True", "False", "Unknown"]


def find_status_condition(conditions: Iterable[Condition], type_: str) -> Condition | None:
    """The condition of that type."""
    return next((condition for condition in conditions if condition.type == type_), None)


def is_status_condition_true(conditions: Iterable[Condition], type_: str) -> bool:
    """Whether the condition exists and its status is True."""
    return is_status_condition_present_and_equal(conditions, type_, "True")


def is_status_condition_false(conditions: Iterable[Condition], type_: str) -> bool:
    """Whether the condition exists and its status is False."""
    return is_status_condition_present_and_equal(conditions, type_, "False")


def is_status_condition_present_and_equal(conditions: Iterable[Condition], type_: str, status: ConditionStatus) -> bool:
    """Whether the condition exists and has that status."""
    condition = find_status_condition(conditions, type_)
    return condition is not None and condition.status == status


def set_status_condition(
    conditions: list[Condition],
    type_: str,
    status: ConditionStatus,
    reason: str,
    message: str = "",
    *,
    observed_generation: int | None = None,
    clock: Clock | None = None,
) -> bool:
    """Adds or changes the condition of that type in the list; whether anything changed."""
    now = (clock or RealClock()).now().replace(microsecond=0)
    known = find_status_condition(conditions, type_)
    if known is None:
        conditions.append(
            Condition(
                type=type_,
                status=status,
                observed_generation=observed_generation,
                last_transition_time=now,
                reason=reason,
                message=message,
            )
        )
        return True

    wanted = (status, reason, message, observed_generation)
    if (known.status, known.reason, known.message, known.observed_generation) == wanted:
        return False
    if known.status != status:
        known.last_transition_time = now
    known.status, known.reason, known.message, known.observed_generation = wanted
    return True


def remove_status_condition(conditions: list[Condition], type_: str) -> bool:
    """Removes the condition of that type; whether it was there."""
    known = find_status_condition(conditions, type_)
    if known is not None:
        conditions.remove(known)
    return known is not None
