"""`Selection`: which stored objects a list or watch request wants, by namespace, labels and fields."""

from __future__ import annotations

import msgspec

from localmodel.runtime.errors import BadRequestError
from localmodel.runtime.selectors import FieldSelector, Selector, SelectorError

from .answers import bad_request
from .definitions import ResourceDefinition
from .store import Entry


def _unknown_field(definition: ResourceDefinition, name: str) -> BadRequestError:
    """Built-in kinds without fields of their own have one conversion in common, which says it in its own way."""
    if definition.strategic and not definition.fields:
        return bad_request(f'"{name}" is not a known field selector: only "metadata.name", "metadata.namespace"')
    return bad_request(f"field label not supported: {name}")


class Selection(msgspec.Struct, frozen=True):
    """A parsed request. Labels are matched without decoding the object; so are its name and namespace."""

    definition: ResourceDefinition
    namespace: str
    labels: Selector
    fields: FieldSelector

    @classmethod
    def of(cls, definition: ResourceDefinition, namespace: str, labels: str, fields: str) -> Selection:
        """Raises BadRequestError for a malformed selector and for a field that the kind does not select by."""
        try:
            label_selector, field_selector = Selector.of(labels), FieldSelector.of(fields)
        except SelectorError as error:
            raise bad_request(str(error)) from error
        namespaced = definition.mapping.namespaced
        known = {"metadata.name", *definition.fields} | ({"metadata.namespace"} if namespaced else set())
        for requirement in field_selector.requirements:
            if requirement.field not in known:
                raise _unknown_field(definition, requirement.field)
        return cls(definition, namespace if namespaced else "", label_selector, field_selector)

    @property
    def selects(self) -> bool:
        """There is a selector (a namespace alone is none)."""
        return not (self.labels.is_empty and self.fields.is_empty)

    def matches(self, entry: Entry) -> bool:
        if self.namespace and entry.namespace != self.namespace:
            return False
        if not self.labels.is_empty and not self.labels.matches(entry.labels):
            return False
        return self.fields.is_empty or self._matches_fields(entry)

    def _matches_fields(self, entry: Entry) -> bool:
        by_key = {"metadata.name": entry.name, "metadata.namespace": entry.namespace}
        if all(requirement.field in by_key for requirement in self.fields.requirements):
            return self.fields.matches(lambda field: by_key[field])
        obj = self.definition.decode(entry.value)
        extra = self.definition.fields
        return self.fields.matches(lambda field: by_key[field] if field in by_key else extra[field](obj))
