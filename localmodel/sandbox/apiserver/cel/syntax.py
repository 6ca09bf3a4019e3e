"""The syntax tree of a compiled expression, out of the bytes that the compiler gives (cel.expr.CheckedExpr).

The compiler, cel-cpp's, is reached through `cel_expr_python`; its trees come as protocol buffers, whose descriptors the
package does not bring. They are declared here as far as expressions can have them.
Source: https://github.com/cel-expr/cel-spec, proto/cel/expr/syntax.proto and checked.proto.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

_INT64, _UINT64, _INT32, _DOUBLE, _BOOL, _STRING, _BYTES = 3, 4, 5, 1, 8, 9, 12
_MESSAGE = 11
_FIELDS: dict[str, list[tuple[int, str, int | str, bool]]] = {
    # message: (number, name, scalar type or message, repeated)
    "Any": [(1, "type_url", _STRING, False), (2, "value", _BYTES, False)],
    "Reference": [(1, "name", _STRING, False), (3, "overload_id", _STRING, True)],
    "ReferenceEntry": [(1, "key", _INT64, False), (2, "value", "Reference", False)],
    "Empty": [],
    "Type": [
        (2, "null", _INT32, False),
        (3, "primitive", _INT32, False),
        (5, "well_known", _INT32, False),
        (6, "list", "ListType", False),
        (7, "map", "MapType", False),
        (9, "message", _STRING, False),
        (14, "abstract", "AbstractType", False),
    ],
    "ListType": [(1, "element", "Type", False)],
    "MapType": [(1, "key", "Type", False), (2, "value", "Type", False)],
    "AbstractType": [(1, "name", _STRING, False)],
    "TypeEntry": [(1, "key", _INT64, False), (2, "value", "Type", False)],
    "PositionEntry": [(1, "key", _INT64, False), (2, "value", _INT32, False)],
    "SourceInfo": [(4, "positions", "PositionEntry", True)],
    "CheckedExpr": [
        (2, "references", "ReferenceEntry", True),
        (3, "types", "TypeEntry", True),
        (4, "expr", "Expr", False),
        (5, "source", "SourceInfo", False),
    ],
    "Expr": [
        (2, "id", _INT64, False),
        (3, "constant", "Constant", False),
        (4, "ident", "Ident", False),
        (5, "select", "Select", False),
        (6, "call", "Call", False),
        (7, "list", "CreateList", False),
        (8, "struct", "CreateStruct", False),
        (9, "comprehension", "Comprehension", False),
    ],
    "Constant": [
        (1, "null", _INT32, False),
        (2, "bool", _BOOL, False),
        (3, "int", _INT64, False),
        (4, "uint", _UINT64, False),
        (5, "double", _DOUBLE, False),
        (6, "string", _STRING, False),
        (7, "bytes", _BYTES, False),
    ],
    "Ident": [(1, "name", _STRING, False)],
    "Select": [(1, "operand", "Expr", False), (2, "field", _STRING, False), (3, "test_only", _BOOL, False)],
    "Call": [(1, "target", "Expr", False), (2, "function", _STRING, False), (3, "args", "Expr", True)],
    "CreateList": [(1, "elements", "Expr", True), (2, "optional_indices", _INT32, True)],
    "CreateStruct": [(1, "message_name", _STRING, False), (2, "entries", "Entry", True)],
    "Entry": [
        (2, "field_key", _STRING, False),
        (3, "map_key", "Expr", False),
        (4, "value", "Expr", False),
        (5, "optional", _BOOL, False),
    ],
    "Comprehension": [
        (1, "iter_var", _STRING, False),
        (2, "iter_range", "Expr", False),
        (3, "accu_var", _STRING, False),
        (4, "accu_init", "Expr", False),
        (5, "loop_condition", "Expr", False),
        (6, "loop_step", "Expr", False),
        (7, "result", "Expr", False),
    ],
}
_ONEOFS = {"Expr": (3, 9), "Constant": (1, 7), "Entry": (2, 3), "Type": (2, 14)}
"""The field numbers of a message of which one is set."""


@lru_cache(maxsize=1)
def _classes() -> dict[str, Any]:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="localmodel/cel.proto", package="localmodel.cel", syntax="proto3")
    for message, fields in _FIELDS.items():
        declared = file.message_type.add(name=message)
        first, last = _ONEOFS.get(message, (0, -1))
        if message in _ONEOFS:
            declared.oneof_decl.add(name="which")
        for number, name, kind, repeated in fields:
            field = declared.field.add(name=name, number=number, label=3 if repeated else 1)
            if isinstance(kind, str):
                field.type, field.type_name = _MESSAGE, f".localmodel.cel.{kind}"
            else:
                field.type = kind
            if first <= number <= last:
                field.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"localmodel.cel.{name}"))
        for name in ("Any", "CheckedExpr")
    }


_PRIMITIVES = ("dyn", "bool", "int", "uint", "double", "string", "bytes")
_WELL_KNOWN = ("dyn", "any", "google.protobuf.Timestamp", "google.protobuf.Duration")


def type_name(type_: Any) -> str:
    """A type in cel-go's notation: list(int). Types that say nothing are dyn."""
    match type_.WhichOneof("which"):
        case "null":
            return "null"
        case "primitive":
            return _PRIMITIVES[type_.primitive]
        case "well_known":
            return _WELL_KNOWN[type_.well_known]
        case "list":
            return f"list({type_name(type_.list.element)})"
        case "map":
            return f"map({type_name(type_.map.key)}, {type_name(type_.map.value)})"
        case "message":
            return str(type_.message)
        case "abstract":
            return str(type_.abstract.name)
        case _:
            return "dyn"


class Tree:
    """The root expression and, by the ids of its nodes, what the type check resolved: names, overloads, types; and
    positions in the source, in code points."""

    def __init__(self, serialized: bytes) -> None:
        classes = _classes()
        checked = classes["CheckedExpr"].FromString(classes["Any"].FromString(serialized).value)
        self.root: Any = checked.expr
        self.names: dict[int, str] = {}
        self.overloads: dict[int, tuple[str, ...]] = {}
        self.types = {entry.key: type_name(entry.value) for entry in checked.types}
        self.positions = {entry.key: entry.value for entry in checked.source.positions}
        for entry in checked.references:
            if entry.value.overload_id:
                self.overloads[entry.key] = tuple(entry.value.overload_id)
            elif entry.value.name:
                self.names[entry.key] = entry.value.name
