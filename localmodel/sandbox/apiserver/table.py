"""Tables (meta.k8s.io/v1 Table): what `kubectl get` prints, computed by the server.

A `Printer` knows the columns of one kind and makes the cells of an object. Built-in kinds have theirs in `printers`;
a custom resource's come from its additionalPrinterColumns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .ages import age, parse_time
from .jsonpath import Finder, compile_path

Json = dict[str, Any]
Cell = Callable[[Json, datetime], Any]

NAME_DESCRIPTION = "Name must be unique within a namespace."
INVALID = "<invalid>"
"""Of a date column whose value is no date."""
_CREATED = ".metadata.creationTimestamp"
AGE_DESCRIPTION = "CreationTimestamp is the time at which the object was created."


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its definition and how to make a cell. Priority above 0 is shown with `-o wide` only."""

    name: str
    cell: Cell
    type: str = "string"
    format: str = ""
    priority: int = 0
    description: str = ""

    def definition(self) -> Json:
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        }


NAME_COLUMN = Column(
    "Name", lambda obj, _: obj.get("metadata", {}).get("name", ""), format="name", description=NAME_DESCRIPTION
)
AGE_COLUMN = Column("Age", lambda obj, now: age(obj["metadata"].get("creationTimestamp"), now))


class Printer:
    """The columns of one kind."""

    def __init__(self, columns: Sequence[Column], *, name_first: bool = True) -> None:
        """Before `columns` comes the name, unless not `name_first`."""
        self._columns = (NAME_COLUMN, *columns) if name_first else tuple(columns)
        self.definitions = [column.definition() for column in self._columns]

    def cells(self, obj: Json, now: datetime) -> list[Any]:
        return [column.cell(obj, now) for column in self._columns]


DEFAULT_PRINTER = Printer(
    [
        Column(
            "Created At",
            lambda obj, _: obj["metadata"].get("creationTimestamp"),
            type="date",
            description=AGE_DESCRIPTION,
        )
    ]
)


def custom_printer(columns: Sequence[Json]) -> Printer:
    """The printer of a CRD version's additionalPrinterColumns; without any there is an Age, as on a real server."""
    if not columns:
        return Printer(
            [Column("Age", _path_cell(compile_path(_CREATED), "date"), type="date", description=AGE_DESCRIPTION)]
        )
    return Printer(
        [
            Column(
                column["name"],
                _path_cell(compile_path(column["jsonPath"]), column["type"]),
                type=column["type"],
                format=column.get("format", ""),
                priority=column.get("priority", 0),
                description=column.get("description")
                or f"Custom resource definition column (in JSONPath format): {column['jsonPath']}",
            )
            for column in columns
        ]
    )


def _path_cell(find: Finder, type_: str) -> Cell:
    def cell(obj: Json, now: datetime) -> Any:
        found = find(obj)
        if not found:
            return None
        return _converted(found[0], type_, now)

    return cell


def _converted(value: Any, type_: str, now: datetime) -> Any:
    """The first value found, in the column's type; None where it does not fit."""
    if type_ == "date":
        return age(value, now) if parse_time(value) is not None else INVALID
    if type_ in ("integer", "number"):
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number:
            return None
        return int(value) if type_ == "integer" else value
    if type_ == "boolean":
        return value if isinstance(value, bool) else None
    return value if isinstance(value, str) else _text(value)


def _text(value: Any) -> str:
    """Lists and objects as JSONPath prints them."""
    import msgspec

    if isinstance(value, bool):
        return str(value).lower()
    return msgspec.json.encode(value).decode() if isinstance(value, dict | list) else str(value)


def row(printer: Printer, obj: Json, now: datetime, *, include: str, version: str) -> Json:
    """One row; `include` is the includeObject parameter: None, Metadata (the default) or Object."""
    result: Json = {"cells": printer.cells(obj, now)}
    if include == "Object":
        result["object"] = obj
    elif include != "None":
        result["object"] = partial_metadata(obj, version=version)
    return result


def partial_metadata(obj: Json, *, version: str) -> Json:
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": obj.get("metadata", {}),
    }


def table(metadata: Json, rows: list[Json], *, version: str, definitions: list[Json] | None) -> Json:
    """`definitions` is None for all but the first table of a watch."""
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": metadata,
        "columnDefinitions": definitions,
        "rows": rows,
    }
