"""The custom resource of the conformance tests."""

from __future__ import annotations

from typing import Any

from support.apicore import widget_crd

Json = dict[str, Any]


def _widgets() -> Json:
    crd = widget_crd(
        size={"type": "string", "enum": ["S", "M", "L"], "description": "How large it is."},
        replicas={"type": "integer", "default": 1, "minimum": 0, "maximum": 10, "description": "How many there are."},
        uri={
            "type": "string",
            "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "uri is immutable"}],
        },
        ports={
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "port": {"type": "integer"}},
            },
        },
    )
    (version,) = crd["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    schema["description"] = "Widget is a thing for tests."
    schema["properties"]["spec"] |= {"required": ["size"], "description": "What is wanted."}
    version["additionalPrinterColumns"] = [
        {"name": "Size", "type": "string", "jsonPath": ".spec.size"},
        {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
        {"name": "URI", "type": "string", "jsonPath": ".spec.uri", "priority": 1},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    return crd


WIDGETS = _widgets()
"""example.com/v1 Widget, with an enum, a default, bounds, a transition rule, a list map, and printer columns."""
