"""CustomResourceDefinitions made out of types, as controller-gen makes them out of Go.

    class GreeterSpec(Model):
        greeting: Annotated[str, REQUIRED, Field(max_length=40)] = ""
        interval: Annotated[int, Field(ge=1), server_default(60)] = 60
        people: Annotated[list[Person], list_map("name")] = Field(default_factory=list)

    class Greeter(Object):
        mapping = RESTMapping.of("example.com", "v1", "Greeter")
        spec: Annotated[GreeterSpec, rule("self.interval < 3600 || size(self.people) == 0")]
        status: GreeterStatus = Field(default_factory=GreeterStatus)

    crd_for(Version(Greeter, columns=(column("Greeting", ".spec.greeting"), AGE)), short_names=("gr",))

Pydantic knows the shape, the constraints (ge, lt, max_length, pattern, Literal, enums) and the descriptions; what only
the API server knows is said by a marker in `Annotated` (`markers`) or by a type of Kubernetes (`types`). `schema` makes
a structural schema of a type and `definition` the definition of a kind. A type that a structural schema cannot express
is an error, with the path of the field.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from localmodel.runtime.lazy import lazy_exports

from .markers import (
    ATOMIC,
    EMBEDDED_RESOURCE,
    LIST_SET,
    NULLABLE,
    PRESERVE_UNKNOWN_FIELDS,
    REQUIRED,
    Marker,
    list_map,
    rule,
    schema_of,
    server_default,
)
from .types import QUANTITY_PATTERN, Conditions, Embedded, IntOrString, Quantity

if TYPE_CHECKING:
    from .definition import AGE, DefinitionError, Scale, Version, column, condition_column, crd_for
    from .schema import OPAQUE, SchemaError, structural_schema

__all__ = [
    "AGE",
    "ATOMIC",
    "EMBEDDED_RESOURCE",
    "LIST_SET",
    "NULLABLE",
    "OPAQUE",
    "PRESERVE_UNKNOWN_FIELDS",
    "QUANTITY_PATTERN",
    "REQUIRED",
    "Conditions",
    "DefinitionError",
    "Embedded",
    "IntOrString",
    "Marker",
    "Quantity",
    "Scale",
    "SchemaError",
    "Version",
    "column",
    "condition_column",
    "crd_for",
    "list_map",
    "rule",
    "schema_of",
    "server_default",
    "structural_schema",
]

# Whoever has types with markers needs these only to make definitions of them.
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "definition": ("AGE", "DefinitionError", "Scale", "Version", "column", "condition_column", "crd_for"),
        "schema": ("OPAQUE", "SchemaError", "structural_schema"),
    },
)
