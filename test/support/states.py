"""What is there at the end of a run, in a form that compares with that of another run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from localmodel.runtime.client import Reader
from localmodel.runtime.objects import Object

PASSING = frozenset(
    {
        "resourceVersion", "generation", "creationTimestamp", "lastTransitionTime", "lastPhaseTransitionTime",
        "observedGeneration",
    }
)  # fmt: skip


def state_of(client: Reader, kinds: Iterable[type[Object]]) -> list[Any]:
    """Every object of these kinds, without what differs from one run to the next; the objects stand for their uids."""
    objects = [obj for kind in kinds for obj in client.list(kind)]
    text = json.dumps([obj.to_dict() for obj in objects], sort_keys=True)
    for obj in [*objects, *objects]:  # again: copies of credentials have a uid in their names
        text = text.replace(obj.metadata.uid, str(obj))
    return sorted((_timeless(obj) for obj in json.loads(text)), key=str)


def _timeless(value: Any) -> Any:
    if isinstance(value, list):
        return [_timeless(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _timeless(item) for key, item in value.items() if key not in PASSING}
