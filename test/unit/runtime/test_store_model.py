"""Whatever is put, deleted and replaced, and whenever indexes come, they say what the functions give for the objects.

A hypothesis state machine compares `ThreadSafeStore` with a dict of the objects. On some objects the function of one
index fails, or the reading of another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from localmodel.runtime.errors import ObjectDecodeError
from localmodel.runtime.objects import ConfigMap, ObjectKey
from localmodel.runtime.store import Stored, ThreadSafeStore, Trimmer

TRIMMER = Trimmer(ConfigMap)
BAD = "bad"
"""As a value of the data it makes functions fail, as a key the reading."""
NAMESPACES = ("n1", "n2")
Data = dict[str, str]


def parts_of(obj: Any) -> dict[str, list[str]]:
    """A list, so that equal parts of two versions are two objects."""
    if BAD in obj.data.values():
        raise ValueError("cannot give parts of it")
    return {key: [value] for key, value in obj.data.items()}


def quick_parts_of(obj: Any) -> dict[str, list[str]]:
    return {key: [value] for key, value in obj.data.items()}


def quick(stored: Stored[Any]) -> ConfigMap:
    found: ConfigMap = stored.object()
    if BAD in found.data:
        raise ObjectDecodeError("cannot be read")
    return found


def values_of(obj: ConfigMap) -> list[str]:
    if BAD in obj.data.values():
        raise ValueError("cannot give values of it")
    return [*obj.data.values(), *obj.data.values()]


def expected(index: Any, data: Data) -> Mapping[str, Any]:
    """What the index shall hold of an object."""
    if (BAD in data) if index is quick_parts_of else (BAD in data.values()):
        return {}
    return dict.fromkeys(data.values()) if index is values_of else {key: [value] for key, value in data.items()}


namespaces = st.sampled_from(NAMESPACES)
names = st.sampled_from("abc")
data = st.dictionaries(st.sampled_from(["k", "l", BAD]), st.sampled_from(["x", "y", BAD]), max_size=3)


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.store: ThreadSafeStore[ConfigMap] = ThreadSafeStore()
        self.model: dict[ObjectKey, Data] = {}
        self.indexes: set[Any] = set()
        self.version = 0

    def stored(self, key: ObjectKey, data: Data) -> Stored[ConfigMap]:
        self.version += 1
        metadata = {"name": key.name, "namespace": key.namespace, "resourceVersion": str(self.version)}
        return TRIMMER.trim(json.dumps({"metadata": metadata, "data": data}).encode())

    def parts(self, stored: Stored[ConfigMap] | None, index: Any) -> Mapping[str, Any]:
        return {} if stored is None else stored.parts(index)

    def check_change(self, old: Stored[ConfigMap] | None, new: Stored[ConfigMap] | None) -> None:
        """What an event of it tells is what the indexes lost and got, and the very same parts where they are equal."""
        for index in self.indexes - {values_of}:
            before, after = self.parts(old, index), self.parts(new, index)
            for key in before.keys() & after.keys():
                assert (before[key] is after[key]) == (before[key] == after[key])

    @rule(namespace=namespaces, name=names, data=data)
    def put(self, namespace: str, name: str, data: Data) -> None:
        key = ObjectKey(namespace, name)
        new = self.stored(key, data)
        old = self.store.put(new)
        assert (old is None) == (key not in self.model)
        self.model[key] = data
        self.check_change(old, new)

    @rule(namespace=namespaces, name=names)
    def put_again(self, namespace: str, name: str) -> None:
        found = self.store.get(ObjectKey(namespace, name))
        if found is not None:
            assert self.store.put(found) is found

    @rule(namespace=namespaces, name=names)
    def delete(self, namespace: str, name: str) -> None:
        key = ObjectKey(namespace, name)
        old = self.store.delete(key)
        assert (old is None) == (self.model.pop(key, None) is None)

    @rule(namespace=namespaces, items=st.dictionaries(names, data))
    def replace_one_namespace(self, namespace: str, items: dict[str, Data]) -> None:
        wanted = {ObjectKey(namespace, name): it for name, it in items.items()}
        self.replace(wanted, namespace)
        self.model = {key: it for key, it in self.model.items() if key.namespace != namespace} | wanted

    @rule(items=st.dictionaries(st.builds(ObjectKey, namespaces, names), data, max_size=4))
    def replace_all(self, items: dict[ObjectKey, Data]) -> None:
        self.replace(items, "")
        self.model = dict(items)

    def replace(self, wanted: dict[ObjectKey, Data], namespace: str) -> None:
        changes = self.store.replace([self.stored(key, it) for key, it in wanted.items()], namespace=namespace)
        for change in changes:
            self.check_change(change.old, change.new)

    @rule()
    def add_parts_index(self) -> None:
        self.store.add_parts_indexer(parts_of)
        self.indexes.add(parts_of)

    @rule()
    def add_parts_index_that_is_read_in_its_own_way(self) -> None:
        self.store.add_parts_indexer(quick_parts_of, quick)
        self.indexes.add(quick_parts_of)

    @rule()
    def add_index_of_values(self) -> None:
        if values_of not in self.indexes:
            self.store.add_indexer("values", values_of)
            self.indexes.add(values_of)

    @invariant()
    def the_indexes_hold_what_the_functions_give(self) -> None:
        for index in self.indexes:
            name = "values" if index is values_of else index
            wanted: dict[str, dict[ObjectKey, Any]] = {}
            for key, it in self.model.items():
                for value, part in expected(index, it).items():
                    wanted.setdefault(value, {})[key] = part
            assert self.store._indexes[name] == wanted
            for stored in self.store.list():
                assert stored.filed[name] == expected(index, self.model[stored.key])
            for value, parts in wanted.items():
                if index is values_of:
                    assert {it.key for it in self.store.by_index({"values": value})} == parts.keys()
                else:
                    found = self.store.parts(index, value)
                    assert all(self.parts(self.store.get(key), index)[value] is part for key, part in found.items())

    @invariant()
    def the_objects_are_those_that_were_put(self) -> None:
        assert {stored.key: stored.object().data for stored in self.store.list()} == self.model
        for namespace in NAMESPACES:
            of_namespace = {key for key in self.model if key.namespace == namespace}
            assert {stored.key for stored in self.store.list(namespace)} == of_namespace


def test_the_indexes_of_a_store_agree_with_its_objects() -> None:
    run_state_machine_as_test(StoreMachine, settings=settings(max_examples=100, stateful_step_count=25, deadline=None))
