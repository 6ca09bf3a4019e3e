"""What of an object is worth keeping: the fields that its type declares, where the type ignores all others.

A kind that is only read declares `extra="ignore"`. A cache of it need not hold what no reader can ask for, and the
JSON decoder passes over undeclared fields without making anything of them: of a Node of 10 KB some hundred bytes
remain. Kinds that are written back keep everything (`extra="allow"`). Of metadata every kind keeps what ObjectMeta has.

The structs here take an object apart in one pass. What the cache only keeps stays JSON (`msgspec.Raw`).
"""

from __future__ import annotations

from types import GenericAlias
from typing import Any, get_args, get_origin

import msgspec
from msgspec import UNSET, Raw, UnsetType

from .objects import Model, Object


class KeptMeta(msgspec.Struct, rename="camel", omit_defaults=True, gc=False):
    """ObjectMeta, of which the cache reads four fields; of the others nothing is made but the same JSON again."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generate_name: Raw | UnsetType = UNSET
    generation: Raw | UnsetType = UNSET
    creation_timestamp: Raw | UnsetType = UNSET
    deletion_timestamp: Raw | UnsetType = UNSET
    deletion_grace_period_seconds: Raw | UnsetType = UNSET
    labels: Raw | UnsetType = UNSET
    annotations: Raw | UnsetType = UNSET
    finalizers: Raw | UnsetType = UNSET
    owner_references: Raw | UnsetType = UNSET


_HEAD: dict[str, tuple[str, Any]] = {
    "api_version": ("apiVersion", str | None),
    "kind": ("kind", str | None),
    "metadata": ("metadata", KeptMeta),
}
"""The fields that every object has: their JSON names and types."""
_COMMON: dict[str, tuple[str, Any]] = {name: (name, Raw) for name in ("spec", "status", "data")}
"""Fields that most kinds have, whether their types declare them or not."""


def head_and_fields(kind: type[Object]) -> type[msgspec.Struct]:
    """A struct of an object's head and of the fields to keep.

    Of a kind that keeps everything it takes only objects whose fields are the declared and the most common ones: a
    struct is decoded in half the time of a dict, but cannot hold others. Those are a msgspec.ValidationError.
    """
    declared = _declared(kind)
    if _keeps_all(kind):
        return _struct(kind.__name__, _COMMON | declared | _HEAD, forbid_unknown_fields=True)
    return _struct(kind.__name__, declared | _HEAD)


def _keeps_all(model: type[Model]) -> bool:
    return model.model_config.get("extra") != "ignore"


def _declared(model: type[Model]) -> dict[str, tuple[str, Any]]:
    return {name: (field.alias or name, _kept(field.annotation)) for name, field in model.model_fields.items()}


def _struct(
    name: str, fields: dict[str, tuple[str, Any]], *, forbid_unknown_fields: bool = False
) -> type[msgspec.Struct]:
    return msgspec.defstruct(
        name,
        [(field, annotation | UnsetType, UNSET) for field, (_, annotation) in fields.items()],
        rename={field: alias for field, (alias, _) in fields.items()},
        forbid_unknown_fields=forbid_unknown_fields,
        gc=False,
    )


def _kept(annotation: Any) -> Any:
    """Nested types that ignore what they do not declare, alone or in lists, are projected too."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return Raw if _keeps_all(annotation) else _struct(annotation.__name__, _declared(annotation))
    if get_origin(annotation) is list:
        kept = _kept(*get_args(annotation))
        return Raw if kept is Raw else GenericAlias(list, (kept,))
    return Raw
