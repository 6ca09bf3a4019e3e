"""What the resource types share: their base model, the quantity type, and the marks that only the schema needs.

A field's docstring becomes its description in the CRD (`kubectl explain`). Every field has a default in Python, even
if the schema requires it: under KServe's minimal CRDs an object may lack any of them, and one odd object must not stop
a whole list from being read. What the schema requires is therefore said by a mark, `required()`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, WithJsonSchema

from localmodel.runtime.objects import Condition, Model, Object, QuantityString

GROUP = "serving.kserve.io"
VERSION = "v1alpha1"

QUANTITY_PATTERN = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)

Quantity = Annotated[
    QuantityString,
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": QUANTITY_PATTERN,
            "x-kubernetes-int-or-string": True,
        }
    ),
]
"""A number of bytes as Kubernetes writes it: 10Gi, 1.7T, 500000000."""

Embedded = Annotated[dict[str, Any], WithJsonSchema({"type": "object", "x-kubernetes-preserve-unknown-fields": True})]
"""A Kubernetes type that is passed on as it is: the API server checks it where it is used."""

Conditions = Annotated[
    list[Condition],
    WithJsonSchema(
        {
            "type": "array",
            "items": {
                "type": "object",
                "description": "One aspect of the object's state.",
                "required": ["type", "status"],
                "properties": {
                    "type": {"type": "string", "description": "The aspect, in CamelCase."},
                    "status": {
                        "type": "string",
                        "enum": ["True", "False", "Unknown"],
                        "description": "Whether it holds.",
                    },
                    "observedGeneration": {
                        "type": "integer",
                        "format": "int64",
                        "minimum": 0,
                        "description": "The generation of the specification that the condition is about.",
                    },
                    "lastTransitionTime": {
                        "type": "string",
                        "format": "date-time",
                        "description": "When the status last changed.",
                    },
                    "reason": {"type": "string", "description": "One word, in CamelCase, for why it is so."},
                    "message": {"type": "string", "description": "Why it is so, for a person."},
                },
            },
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        }
    ),
]
"""metav1.Condition, one for each type."""

REQUIRED_MARK = "x-required"
"""Stands in a property's generated schema until `crd` moves it to the parent's list of required properties."""


def required(**schema: Any) -> dict[str, Any]:
    """The schema additions of a required field, for `Field(json_schema_extra=...)`."""
    return {REQUIRED_MARK: True, **schema}


def enum_values(values: type[StrEnum]) -> dict[str, Any]:
    """The schema of a string that is empty or one of the values; in Python it stays a string and takes any."""
    return {"type": "string", "enum": ["", *(value.value for value in values)]}


class ApiModel(Model):
    """A part of a resource, described by its docstrings."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class ApiObject(Object):
    """A resource, described by its docstrings."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class NamespacedName(ApiModel):
    """An object's namespace and name."""

    name: str = ""
    """The object's name."""
    namespace: str = ""
    """The object's namespace."""


class LocalModelStorageSpec(ApiModel):
    """Which credentials a download uses, and further parameters of the storage."""

    key: str | None = None
    """The key in the storage secret (storage-config) of the job namespace that holds the credentials."""
    parameters: dict[str, str] | None = None
    """Settings that override those of the secret, as type, bucket or region."""
