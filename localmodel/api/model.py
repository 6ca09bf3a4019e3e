"""What the resource types share: their group, their base models, and the parts that several of them have.

A field's docstring becomes its description in the CRD (`kubectl explain`). Every field has a default in Python, even
if the schema requires it: under KServe's minimal CRDs an object may lack any of them, and one odd object must not stop
a whole list from being read. What the schema requires is therefore said by a marker, `crdgen.REQUIRED`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import ConfigDict

from localmodel.runtime.objects import Model, Object

GROUP = "serving.kserve.io"
VERSION = "v1alpha1"


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
    """The key in the storage secret (storage-config) that holds the credentials."""
    parameters: dict[str, str] | None = None
    """Settings that override those of the secret, as type, bucket or region."""


class EvictionPolicy(StrEnum):
    """What may be done with a model when a node's disk is full. Empty means LeastRecentlyUsed."""

    LEAST_RECENTLY_USED = "LeastRecentlyUsed"
    NEVER = "Never"
