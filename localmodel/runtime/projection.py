"""What of an object is worth keeping: the fields that its type declares, where the type ignores all others.

A kind that is only read declares `extra="ignore"`. A cache of it need not hold what no reader can ask for, and the
JSON decoder passes over undeclared fields without making anything of them: of a Node of 10 KB some hundred bytes
remain. Kinds that are written back keep everything (`extra="allow"`).
"""

from __future__ import annotations

from types import GenericAlias
from typing import Any, get_args, get_origin

import msgspec

from .objects import Model, Object, ObjectMeta

_HEAD: dict[str, tuple[str, Any, Any]] = {
    "api_version": ("apiVersion", str | None | msgspec.UnsetType, msgspec.UNSET),
    "kind": ("kind", str | None | msgspec.UnsetType, msgspec.UNSET),
    "metadata": ("metadata", ObjectMeta | msgspec.UnsetType, msgspec.UNSET),
}
"""The fields that every object has: their JSON names, types and defaults."""


def projection(model: type[Model]) -> type[msgspec.Struct] | None:
    """A struct of the fields to keep, encoded as they came; None: all. Of an Object, the head is decoded as well."""
    if model.model_config.get("extra") != "ignore":
        return None
    head = _HEAD if issubclass(model, Object) else {}
    declared = {
        name: (field.alias or name, _kept(field.annotation) | msgspec.UnsetType, msgspec.UNSET)
        for name, field in model.model_fields.items()
    } | head
    return msgspec.defstruct(
        model.__name__,
        [(name, annotation, default) for name, (_, annotation, default) in declared.items()],
        rename={name: alias for name, (alias, _, _) in declared.items()},
        gc=False,
    )


def _kept(annotation: Any) -> Any:
    """Nested types that ignore what they do not declare, alone or in lists, are projected too."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return projection(annotation) or msgspec.Raw
    if get_origin(annotation) is list:
        kept = _kept(*get_args(annotation))
        return msgspec.Raw if kept is msgspec.Raw else GenericAlias(list, (kept,))
    return msgspec.Raw
