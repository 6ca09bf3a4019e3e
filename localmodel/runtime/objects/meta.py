"""The base of every typed resource: `Model`, `Object`, and the mapping from a type to its REST path.

A type declares the fields it uses; a read decodes just those into a fresh, private object, so nothing that a reader
gets can be changed under another reader. Types that are written back keep fields they do not declare (`extra="allow"`),
because an update replaces the whole object: a field dropped on the way would be a field deleted. Types that are only
read declare `extra="ignore"` and cost less.

Python names are snake case, JSON names camel case, as in the Kubernetes API conventions.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Self, TypeVar

import msgspec
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic.alias_generators import to_camel

from .mapping import ObjectKey, RESTMapping
from .objectmeta import ObjectMeta, Record
from .times import format_micro_time, format_time

Time = Annotated[datetime, PlainSerializer(format_time, return_type=str)]
MicroTime = Annotated[datetime, PlainSerializer(format_micro_time, return_type=str)]


def _int_or_string(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


QuantityString = Annotated[str, BeforeValidator(_int_or_string)]
"""A quantity as the user wrote it ("10Gi", "1.7T", 500); numbers become their text. See `parse_quantity`."""


class Model(BaseModel):
    """A JSON object of the Kubernetes API with camel-case keys.

    Go's `omitempty`: a field whose default is zero, false or empty is left out of the JSON when it is that, a field
    whose default is None (a pointer in Go) only when it is None, so an empty string or object in it is kept. A field
    without a default is always written.
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="allow", serialize_by_alias=True, protected_namespaces=()
    )

    @model_serializer(mode="wrap")
    def _omit_empty(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        empty, nullable = _omittable(type(self))
        return {
            key: value
            for key, value in data.items()
            if value or not (key in empty or (value is None and key in nullable))
        }

    def to_dict(self) -> dict[str, Any]:
        """The object as plain JSON types with camel-case keys."""
        return self.model_dump(mode="json", by_alias=True)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The typed object of a JSON object; raises `pydantic.ValidationError`."""
        return cls.model_validate(data)


_OMITTABLE: dict[type[Model], tuple[frozenset[str], frozenset[str]]] = {}


def _omittable(cls: type[Model]) -> tuple[frozenset[str], frozenset[str]]:
    """JSON names of the fields left out when empty, and of those left out when None; computed once per type."""
    known = _OMITTABLE.get(cls)
    if known is None:
        empty, nullable = set(), set()
        for name, field in cls.model_fields.items():
            if field.is_required():
                continue
            default = field.get_default(call_default_factory=True, validated_data={})
            if default is None:
                nullable.add(field.alias or name)
            elif not default or isinstance(default, Model | Record):
                empty.add(field.alias or name)
        known = _OMITTABLE[cls] = frozenset(empty), frozenset(nullable)
    return known


class Object(Model):
    """A Kubernetes resource. A subclass sets `mapping` and declares the fields it uses.

    >>> class Greeter(Object):
    ...     mapping = RESTMapping.of("example.com", "v1", "Greeter")
    ...     spec: dict[str, Any] = Field(default_factory=dict)
    """

    mapping: ClassVar[RESTMapping]
    metadata_only: ClassVar[bool] = False

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)

    def __init_subclass__(cls, **options: Any) -> None:
        """Objects inside a list and objects made by hand get the apiVersion and kind of their type, as defaults of the
        fields: to set them after the decoding would cost each read of a typed object a twentieth more."""
        super().__init_subclass__(**options)
        if "mapping" in vars(cls):
            gvk = cls.mapping.gvk
            cls.__annotations__ = {**vars(cls).get("__annotations__", {}), "api_version": str, "kind": str}
            cls.api_version, cls.kind = gvk.api_version, gvk.kind

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """Empty for a cluster-scoped object."""
        return self.metadata.namespace

    @property
    def key(self) -> ObjectKey:
        return ObjectKey(self.metadata.namespace, self.metadata.name)

    @property
    def is_deleting(self) -> bool:
        """A deletion timestamp is set: the object goes once its finalizers are gone."""
        return self.metadata.deletion_timestamp is not None

    def deepcopy(self) -> Self:
        return self.model_copy(deep=True)

    def to_json(self) -> bytes:
        return msgspec.json.encode(self.to_dict())

    @classmethod
    def from_json(cls, data: bytes | msgspec.Raw) -> Self:
        """Decodes one object; raises `pydantic.ValidationError` or `msgspec.DecodeError`."""
        return cls.model_validate(msgspec.json.decode(data))

    @classmethod
    def from_parts(cls, metadata: bytes, body: bytes) -> Self:
        """Decodes what the cache keeps of an object: its metadata, and what is beside apiVersion, kind and metadata.

        Raises `pydantic.ValidationError` or `msgspec.DecodeError`.
        """
        self: Self = cls.__pydantic_validator__.validate_json(body)
        self.__dict__["metadata"] = _decode_metadata(metadata)
        return self

    def __str__(self) -> str:
        return f"{self.mapping.gvk.kind} {self.key}"


_decode_metadata = msgspec.json.Decoder(ObjectMeta).decode
# The slots of pydantic's models, set past its `__setattr__`, which would look each name up first.
_set_extra, _set_fields_set, _set_private = (
    vars(BaseModel)[f"__pydantic_{name}__"].__set__ for name in ("extra", "fields_set", "private")
)
_decode_body = msgspec.json.Decoder(dict[str, Any]).decode


T = TypeVar("T", bound=Object)


class Unstructured(Object):
    """An object whose fields are not declared: everything but metadata stays as it came, in `content`.

    `Unstructured.of(RESTMapping.of(...))` gives a type for one kind, to be used as any typed resource.
    """

    @property
    def content(self) -> dict[str, Any]:
        """The top-level fields other than apiVersion, kind and metadata; changing it changes the object."""
        if self.__pydantic_extra__ is None:
            self.__pydantic_extra__ = {}
        return self.__pydantic_extra__

    @classmethod
    def from_parts(cls, metadata: bytes, body: bytes) -> Self:
        """There is nothing to validate, so the instance is put together as `model_construct` does it."""
        gvk = cls.mapping.gvk
        self = object.__new__(cls)
        own = self.__dict__
        own["api_version"], own["kind"], own["metadata"] = gvk.api_version, gvk.kind, _decode_metadata(metadata)
        _set_extra(self, _decode_body(body))
        _set_fields_set(self, {"api_version", "kind", "metadata"})
        _set_private(self, None)
        return self

    @classmethod
    def of(cls, mapping: RESTMapping) -> type[Unstructured]:
        return type(f"Unstructured{mapping.gvk.kind}", (cls,), {"mapping": mapping, "__module__": __name__})


class PartialObjectMetadata(Object):
    """Only apiVersion, kind and metadata are fetched, watched and kept (metav1.PartialObjectMetadata).

    `PartialObjectMetadata.of(mapping)` gives a type for one kind; it keeps the kind of the real object.
    """

    model_config = ConfigDict(extra="ignore")
    metadata_only: ClassVar[bool] = True

    @model_validator(mode="after")
    def _type_meta(self) -> Self:
        """The server calls it a PartialObjectMetadata of meta.k8s.io/v1; the caller asked for an object of its kind."""
        gvk = self.mapping.gvk
        self.__dict__.update(kind=gvk.kind, api_version=gvk.api_version)
        return self

    @classmethod
    def of(cls, mapping: RESTMapping) -> type[PartialObjectMetadata]:
        return type(f"Partial{mapping.gvk.kind}", (cls,), {"mapping": mapping, "__module__": __name__})


class Condition(Model):
    """metav1.Condition. `status` is True, False or Unknown."""

    type: str
    status: str
    observed_generation: int | None = None
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""
