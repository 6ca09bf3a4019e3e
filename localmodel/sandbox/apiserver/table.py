"""Tables (meta.k8s.io/v1 Table): what `kubectl get` prints, computed by the server.

A `Printer` knows the columns of one kind and makes the cells of an object. Built-in kinds have theirs in `printers`;
a custom resource's come from its additionalPrinterColumns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec
import structlog

from .ages import UNKNOWN, age, parse_time
from .fielderrors import go_float, go_json
from .jsonpath import Finder, JsonPathError, compile_path, number_as_stored

log = structlog.get_logger(__name__)

Json = dict[str, Any]
Cell = Callable[[Json, datetime], Any]

NAME_DESCRIPTION = "Name must be unique within a namespace."
INVALID = "<invalid>"
"""Of a date column whose value is no date."""
_CREATED = ".metadata.creationTimestamp"
AGE_DESCRIPTION = "CreationTimestamp is the time at which the object was created."


class Column(msgspec.Struct, frozen=True):
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
    """The printer of a CRD version's additionalPrinterColumns; without any there is an Age, as on a real server.

    The columns end before the first one whose path client-go cannot parse.
    """
    if not columns:
        return Printer(
            [Column("Age", _path_cell(compile_path(_CREATED), "date"), type="date", description=AGE_DESCRIPTION)]
        )
    made = []
    for column in columns:
        try:
            made.append(_custom_column(column))
        except JsonPathError as error:
            log.debug("a printer column ends the table", json_path=column["jsonPath"], error=str(error))
            break
    return Printer(made)


def _custom_column(column: Json) -> Column:
    return Column(
        column["name"],
        _path_cell(compile_path(column["jsonPath"]), column["type"]),
        type=column["type"],
        format=column.get("format", ""),
        priority=column.get("priority", 0),
        description=column.get("description")
        or f"Custom resource definition column (in JSONPath format): {column['jsonPath']}",
    )


def _path_cell(find: Finder, type_: str) -> Cell:
    def cell(obj: Json, now: datetime) -> Any:
        found = find(obj)
        return _converted(found[0], type_, now) if found else None

    return cell


_MIN_INT = -(2**63)


def _converted(value: Any, type_: str, now: datetime) -> Any:
    """The first value found, in the column's type; None where it does not fit."""
    if type_ == "string":
        return value if type(value) is str else printed(value)
    if type_ == "date":
        return _age_of(value, now) if isinstance(value, str) else None
    if type_ == "boolean":
        return value if isinstance(value, bool) else None
    if type(value) not in (int, float):
        return None
    if type_ == "number":
        return number_as_stored(value)
    whole = int(value)
    return whole if _MIN_INT <= whole < -_MIN_INT else _MIN_INT


def _age_of(text: str, now: datetime) -> str:
    if not text:
        return UNKNOWN
    return age(text, now) if "T" in text and parse_time(text) is not None else INVALID


def printed(value: Any) -> str:
    """A value as JSONPath prints it: lists and objects are JSON."""
    match value:
        case None:
            return "<no value>"
        case bool():
            return str(value).lower()
        case float():
            return go_float(value)
        case dict() | list():
            return go_json(value)
        case _:
            return str(value)


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
