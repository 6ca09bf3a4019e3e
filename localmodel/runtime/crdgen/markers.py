"""Markers: what a field's schema says to the API server beside its type, written into `Annotated`.

They do not change what pydantic accepts. Kubebuilder has them as comments (+listType=map, +kubebuilder:default).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema

Json = dict[str, Any]

RULES = "x-kubernetes-validations"
REQUIRED_KEY = "x-required"
"""Stands in a property's generated schema until `schema` moves it to the parent's list of required properties."""
DEFAULT_KEY = "x-server-default"
"""Stands for `default`, where pydantic puts the defaults that are Python's own."""


@dataclass(frozen=True, slots=True, eq=False)
class Marker:
    """Adds to the schema of the annotated type; CEL rules are added to those that are there."""

    content: Json

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> Json:
        schema = handler(core_schema)
        return {**schema, **self.content, **joined_rules(schema, self.content)}


def joined_rules(first: Json, second: Json) -> Json:
    """The CEL rules of both schemas, as an addition to a schema."""
    rules = [*first.get(RULES, ()), *second.get(RULES, ())]
    return {RULES: rules} if rules else {}


def schema_of(**content: Any) -> Marker:
    """Any other addition, such as `schema_of(format="int64", minimum=0)`."""
    return Marker(content)


def rule(
    expression: str,
    *,
    message: str = "",
    message_expression: str = "",
    reason: str = "",
    field_path: str = "",
    optional_old_self: bool = False,
) -> Marker:
    """A CEL rule about the value, called `self`; one that names `oldSelf` is about changes.

    https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules
    """
    content: Json = {
        "rule": expression,
        "message": message,
        "messageExpression": message_expression,
        "reason": reason,
        "fieldPath": field_path,
        "optionalOldSelf": optional_old_self,
    }
    return Marker({RULES: [{key: value for key, value in content.items() if value}]})


def list_map(*keys: str) -> Marker:
    """A list whose items are known by these of their fields (their JSON names): server-side apply merges them."""
    return Marker({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)})


def server_default(value: Any) -> Marker:
    """What the API server fills in where the field is missing; the default in Python should be the same."""
    return Marker({DEFAULT_KEY: value})


REQUIRED = Marker({REQUIRED_KEY: True})
"""The API server wants the field, although it has a default in Python. (A field without one is required anyway.)"""
NULLABLE = Marker({"nullable": True})
"""A null is kept, not dropped."""
LIST_SET = Marker({"x-kubernetes-list-type": "set"})
"""A list without equal items, whose items have single owners under server-side apply."""
ATOMIC = Marker({"x-kubernetes-list-type": "atomic"})
"""A list that is replaced as a whole."""
PRESERVE_UNKNOWN_FIELDS = Marker({"x-kubernetes-preserve-unknown-fields": True})
"""Fields that the schema does not have are kept, not pruned."""
EMBEDDED_RESOURCE = Marker({"x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True})
"""A whole Kubernetes object, with apiVersion, kind and metadata."""
