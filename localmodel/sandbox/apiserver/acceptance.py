"""`Acceptor`: finds fast that an object is as its structural schema wants it, with nothing to prune, default or refuse.

The schema is compiled to msgspec types, whose conversion checks types, unknown fields and most value validations in C.
What msgspec cannot say (formats, junctions, unique list items) is left to the functions of `validation`, node by node.
An object that is not accepted is looked at again by `schema` and `validation`, which change it or say what is wrong: so
no is never wrong here, only slow, and yes must never be wrong.

Fields that are as they were in the old object are not looked at.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache, cached_property, partial
from typing import Annotated, Any, Literal

import msgspec

from localmodel.runtime.testing.jsonvalues import is_same

from .embedded import coerce, embedded_faults
from .formats import format_of
from .patterns import compile_pattern
from .schema import Json, Schema, default, drop_nulls, prune
from .validation import list_faults, validate

Check = Callable[[Any], bool]

_SCALARS: dict[str, Any] = {"string": str, "integer": int, "number": float, "boolean": bool}
_LENGTHS = {
    "string": ("minLength", "maxLength"),
    "array": ("minItems", "maxItems"),
    "object": ("minProperties", "maxProperties"),
}
_JUNCTIONS = ("allOf", "anyOf", "oneOf", "not")
_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_BOUND = 2**63


class Acceptor:
    """For objects of one resource. `tree` is the root of its schema. Compiled with the first object."""

    def __init__(self, tree: Schema) -> None:
        self._tree = tree
        self._restricts_others = tree.closed or tree.additional is not None
        # A root that asks for more than its fields and their schemas is left to validation.
        self._is_plain = not (_needs_python(tree, "object") or _lengths(tree.raw, "object"))
        defaulted = {name for name, _ in tree.defaulted}
        self._accepted = b""
        self._present = {*(tree.raw.get("required") or ()), *defaulted} - {"metadata"}

    @cached_property
    def _types(self) -> dict[str, Any]:
        return {name: _type(child) for name, child in self._tree.properties.items()}

    def __call__(self, new: Json, old: Json | None) -> bool:
        """Whether pruning and defaulting leave `new` as it is and validation finds nothing in it."""
        if not (self._is_plain and self._present <= new.keys()):
            return False
        before, types = old or {}, self._types
        # A new object is asked about twice, before admission and after it, which seldom changes anything.
        seen = self._written(new) if old is None else b""
        if new["metadata"] != before.get("metadata") and not _converts(new["metadata"], _metadata_type()):
            return False
        if seen and seen == self._accepted:
            return True
        for name, value in new.items():
            if name == "metadata" or (name in before and is_same(before[name], value)):
                continue
            if name in types:
                if not _converts(value, types[name]):
                    return False
            elif self._restricts_others and name not in ("apiVersion", "kind"):
                return False
        if seen:
            self._accepted = seen
        return True

    def _written(self, new: Json) -> bytes:
        """The fields of a new object and its name; empty for what cannot be written."""
        fields = [(name, value) for name, value in new.items() if name != "metadata"]
        try:
            return msgspec.json.encode([new["metadata"].get("name"), fields])
        except (TypeError, ValueError, OverflowError, RecursionError):
            return b""

    def field(self, name: str, value: Any) -> bool:
        """The same about one field of an object whose other fields stay as they are, whatever this one was before."""
        return self._is_plain and name in self._types and _converts(value, self._types[name])


@cache
def _metadata_type() -> Any:
    """Metadata that decoding leaves as it is: known fields of the right types, none of them empty."""
    text = Annotated[str, msgspec.Meta(min_length=1)]
    moment = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")]
    pairs = Annotated[dict[str, str], msgspec.Meta(min_length=1)]
    count = Annotated[int, msgspec.Meta(ge=1)]

    def struct(optional: dict[str, Any], **needed: Any) -> Any:
        fields: list[Any] = [*needed.items(), *((name, type_, None) for name, type_ in optional.items())]
        return msgspec.defstruct("Metadata", fields, forbid_unknown_fields=True, kw_only=True, gc=False)

    owner = struct({"controller": bool, "blockOwnerDeletion": bool}, apiVersion=str, kind=str, name=str, uid=str)
    texts = dict.fromkeys(("manager", "operation", "apiVersion", "fieldsType", "subresource"), text)
    manager = struct({**texts, "time": moment, "fieldsV1": dict[str, Any]})
    listed = msgspec.Meta(min_length=1)
    return struct(
        {
            **dict.fromkeys(("name", "namespace", "generateName", "uid", "resourceVersion", "selfLink"), text),
            "generation": count,
            "creationTimestamp": moment,
            "deletionTimestamp": moment,
            "deletionGracePeriodSeconds": int,
            "labels": pairs,
            "annotations": pairs,
            "finalizers": Annotated[list[str], listed],
            "ownerReferences": Annotated[list[owner], listed],  # type: ignore[valid-type]
            "managedFields": Annotated[list[manager], listed],  # type: ignore[valid-type]
        }
    )


def _converts(value: Any, type_: Any) -> bool:
    try:
        msgspec.convert(value, type_, dec_hook=_checked)
    except (msgspec.ValidationError, RecursionError):
        return False
    return True


class _Checked:
    """A type that stands for a check in Python. Each has a class of its own, made by `_checked_type`."""

    check: Check
    instance: _Checked


def _checked_type(check: Check) -> type[_Checked]:
    class Checked(_Checked):
        pass

    Checked.check = staticmethod(check)
    Checked.instance = Checked()
    return Checked


def _checked(type_: type[_Checked], value: Any) -> _Checked:
    """msgspec's hook for types that it does not know."""
    if not type_.check(value):
        raise ValueError("not accepted")
    return type_.instance


def _type(node: Schema) -> Any:
    """The msgspec type that accepts what the node does."""
    if node.int_or_string:
        return _int_or_string(node)
    kind = node.type
    if kind in _SCALARS:
        made = _scalar(node, kind)
    elif kind == "array" and not node.embedded:
        made = _list(node)
    elif kind == "object" and not node.embedded:
        made = _object(node)
    elif not kind and node.raw.get("x-kubernetes-preserve-unknown-fields") and not _has_structure(node):
        made = Any if not _needs_python(node, "") else None
    else:
        made = None
    if made is None:
        check: Callable[..., bool] = _is_valid if kind in _SCALARS else _is_left_alone
        return _checked_type(partial(check, node))
    if made is Any:
        return Any if node.nullable else _checked_type(_is_something)
    # An enum has no null in it, whatever nullable says.
    if not node.nullable or "enum" in node.raw:
        return made
    # msgspec asks the check of a type of ours about None too.
    return made | None


def _is_something(value: Any) -> bool:
    return value is not None


def _has_structure(node: Schema) -> bool:
    return bool(node.properties or node.items or node.additional)


def _is_valid(node: Schema, value: Any) -> bool:
    return not validate(node, value)


def _is_left_alone(node: Schema, value: Any) -> bool:
    """The same question, asked of the functions that would change the value or find fault with it."""
    holder = Schema({}, properties={"x": node}, has_defaults_below=True, has_embedded_below=True)
    obj = {"x": copy.deepcopy(value)}
    dropped = prune(holder, obj)
    drop_nulls(holder, obj)
    wrong = coerce(holder, obj, "", dropped)
    default(holder, obj)
    if dropped or wrong is not None or obj != {"x": value}:
        return False
    return not (validate(node, value) or list_faults(node, value) or embedded_faults(node, value))


def _int_or_string(node: Schema) -> Any:
    raw = {key: value for key, value in node.raw.items() if key != "anyOf" or value != _INT_OR_STRING}
    if any(_needs_python(Schema(raw), kind) for kind in ("string", "array")) or raw.keys() & {"minimum", "maximum"}:
        return _checked_type(partial(_is_valid, node))
    bounds = _lengths(raw, "string")
    if raw.get("pattern"):
        bounds["pattern"] = _python_pattern(raw["pattern"])
    holds: Any = int | (Annotated[str, msgspec.Meta(**bounds)] if bounds else str)
    return holds | None if node.nullable else holds


def _scalar(node: Schema, kind: str) -> Any:
    raw = node.raw
    if "enum" in raw:
        values = raw["enum"]
        others = raw.keys() & {"pattern", "minLength", "maxLength", *_JUNCTIONS}
        is_plain = kind == "string" and values and all(isinstance(value, str) for value in values)
        return Literal[tuple(values)] if is_plain and not others and not _format(raw) else None
    if _needs_python(node, kind):
        return None
    bounds: dict[str, Any] = _lengths(raw, kind)
    if kind == "string" and raw.get("pattern"):
        bounds["pattern"] = _python_pattern(raw["pattern"])
    for key, bound in (("minimum", "ge"), ("maximum", "le")):
        if kind in ("integer", "number") and key in raw:
            bounds[bound] = raw[key]
    if kind == "integer":
        # Larger ones are left to validation.
        bounds.setdefault("ge", -_BOUND)
        bounds.setdefault("le", _BOUND - 1)
    return Annotated[_SCALARS[kind], msgspec.Meta(**bounds)] if bounds else _SCALARS[kind]


def _lengths(raw: Json, kind: str) -> dict[str, Any]:
    low, high = _LENGTHS.get(kind, ("", ""))
    return {bound: raw[key] for key, bound in ((low, "min_length"), (high, "max_length")) if key in raw}


def _list(node: Schema) -> Any:
    if _needs_python(node, "array"):
        return None
    items = list[_type(node.items)] if node.items is not None else list[Any]  # type: ignore[misc]
    if node.list_type not in ("set", "map"):
        bounds = _lengths(node.raw, "array")
        return Annotated[items, msgspec.Meta(**bounds)] if bounds else items

    alone = Schema({key: found for key, found in node.raw.items() if key != "items"})

    def check(value: Any) -> bool:
        if value is None:
            return node.nullable
        return _converts(value, items) and not validate(alone, value) and not list_faults(node, value)

    return _checked_type(check)


def _object(node: Schema) -> Any:
    raw = node.raw
    required = set(raw.get("required") or ())
    if _needs_python(node, "object") or (node.additional is not None and (node.properties or required)):
        return None
    if node.additional is not None or not (node.closed or node.properties or required):
        values = _type(node.additional) if node.additional is not None else Any
        bounds = _lengths(raw, "object")
        made = dict[str, values]  # type: ignore[valid-type]
        return Annotated[made, msgspec.Meta(**bounds)] if bounds else made
    if _lengths(raw, "object") or not required <= node.properties.keys():
        return None
    fields: list[Any] = []
    names: dict[str, str] = {}
    for index, (name, child) in enumerate(node.properties.items()):
        names[f"f{index}"] = name
        is_needed = name in required or child.raw.get("default") is not None
        fields.append((f"f{index}", _type(child)) if is_needed else (f"f{index}", _type(child), None))
    return msgspec.defstruct(
        "Accepted", fields, rename=names, forbid_unknown_fields=node.closed, kw_only=True, gc=False
    )


def _format(raw: Json) -> bool:
    """Whether the value must be of a format that is checked in Python."""
    return format_of(raw.get("format") or "") is not None


def _python_pattern(pattern: str) -> str:
    """A pattern that `_is_plain_pattern` as one for Python: there a dollar sign matches before a last newline too."""
    return pattern.removesuffix("$") + r"\Z" if pattern.endswith("$") else pattern


def _is_plain_pattern(pattern: str) -> bool:
    """Whether a pattern means the same to RE2 and to Python, which does not take longer than it must over it."""
    compile_pattern(pattern)
    odd = ("\\", "(?", "[[", ")*", ")+", "){", "[^")
    return not any(part in pattern for part in odd) and "$" not in pattern.removesuffix("$")


def _needs_python(node: Schema, kind: str) -> bool:
    """Whether the node itself asks for more than a type of msgspec can say. Enums are looked at by `_scalar`."""
    raw = node.raw
    if any(raw.get(key) for key in _JUNCTIONS) or (kind not in _SCALARS and "enum" in raw):
        return True
    if kind == "object" and raw.get("additionalProperties") is False:
        return True
    if kind == "string":
        return _format(raw) or bool(raw.get("pattern") and not _is_plain_pattern(raw["pattern"]))
    if kind not in ("integer", "number"):
        return False
    bounds = [raw[key] for key in ("minimum", "maximum") if key in raw]
    numbers = int if kind == "integer" else int | float
    fits = all(isinstance(bound, numbers) and -_BOUND <= bound < _BOUND for bound in bounds)
    exclusive = raw.get("exclusiveMinimum") or raw.get("exclusiveMaximum") or raw.get("multipleOf")
    return bool(exclusive) or not fits or (kind == "number" and raw.get("format", "") in ("int32", "int64"))
