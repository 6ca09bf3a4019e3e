"""Which of the names that a CRD asks for it gets: those that no other definition of its group has.

Source: apiextensions-apiserver's pkg/controller/status/naming_controller.go.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

_FIELDS = (
    ("plural", "PluralConflict"),
    ("singular", "SingularConflict"),
    ("shortNames", "ShortNamesConflict"),
    ("kind", "KindConflict"),
    ("listKind", "ListKindConflict"),
)


def accept_names(wanted: Json, had: Json, names: set[str], kinds: set[str]) -> tuple[Json, tuple[str, str, str]]:
    """The accepted names and the condition NamesAccepted (status, reason, message).

    `had` are the names accepted so far; `names` and `kinds` those of others. A name that is taken stays what it was.
    """
    accepted = {field: had.get(field, "") for field in ("plural", "kind")} | {
        key: value for key, value in had.items() if key != "categories"
    }
    condition = ("True", "NoConflicts", "no conflicts found")
    for field, reason in _FIELDS:
        taken = _taken(wanted.get(field), had.get(field), kinds if "ind" in field else names)
        if taken:
            condition = ("False", reason, taken)
        elif wanted.get(field):
            accepted[field] = wanted[field]
        else:
            accepted.pop(field, None)
    if wanted.get("categories"):
        accepted["categories"] = wanted["categories"]
    return accepted, condition


def _taken(wanted: Any, had: Any, used: set[str]) -> str:
    """What to say of the names that others have, empty if there are none."""
    if wanted == had:
        return ""
    asked = wanted if isinstance(wanted, list) else [wanted]
    kept = had if isinstance(had, list) else []
    taken = [f'"{name}" is already in use' for name in asked if name in used and name not in kept]
    return taken[0] if len(taken) == 1 else f"[{', '.join(taken)}]" if taken else ""
