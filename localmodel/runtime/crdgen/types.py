"""Types of Kubernetes that pydantic does not know, with their schemas."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import StrictInt, StrictStr, WithJsonSchema

from localmodel.runtime.objects import Condition, QuantityString

QUANTITY_PATTERN = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)

_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]

Quantity = Annotated[
    QuantityString,
    WithJsonSchema({"anyOf": _INT_OR_STRING, "pattern": QUANTITY_PATTERN, "x-kubernetes-int-or-string": True}),
]
"""A number as Kubernetes writes it (resource.Quantity): 10Gi, 1.7T, 500m, 500000000."""

IntOrString = Annotated[
    StrictInt | StrictStr, WithJsonSchema({"anyOf": _INT_OR_STRING, "x-kubernetes-int-or-string": True})
]
"""Such as a port or a percentage (intstr.IntOrString)."""

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
