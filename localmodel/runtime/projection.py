"""What of an object is worth keeping: the fields that its type declares, where the type ignores all others.

A kind that is only read declares `extra="ignore"`. A cache of it need not hold what no reader can ask for, and the
JSON decoder passes over undeclared fields without making anything of them: of a Node of 10 KB some hundred bytes
remain. Kinds that are written back keep everything (`extra="allow"`).
"""

from __future__ import annotations

from types import GenericAlias
from typing import Any, get_args, get_origin

import msgspec

from .objects import Model, Object

_HEAD = frozenset(("api_version", "kind", "metadata"))


def projection(model: type[Model]) -> type[msgspec.Struct] | None:
    """A struct of the fields to keep, each as it came; None: all. Of an Object, apiVersion, kind and metadata are left
    to the caller.
    """
    if model.model_config.get("extra") != "ignore":
        return None
    left_out = _HEAD if issubclass(model, Object) else ()
    declared = {name: field for name, field in model.model_fields.items() if name not in left_out}
    return msgspec.defstruct(
        model.__name__,
        [(name, _kept(field.annotation) | msgspec.UnsetType, msgspec.UNSET) for name, field in declared.items()],
        rename={name: field.alias or name for name, field in declared.items()},
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
