"""What `VersionedStore` promises: one revision counter, ordered delivery, bounded history, conditional writes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import msgspec
import pytest

from localmodel.runtime.testing.store import (
    CompactedError,
    JournalRecord,
    Notice,
    Progress,
    RevisionMismatchError,
    StoreEvent,
    VersionedStore,
)


def value(**labels: str) -> Callable[[int], bytes]:
    def encode(revision: int) -> bytes:
        return msgspec.json.encode({"metadata": {"resourceVersion": str(revision), "labels": labels}})

    return encode


def fill(store: VersionedStore, *names: str, resource: str = "widgets", namespace: str = "ns") -> None:
    for name in names:
        store.put(resource, namespace, name, value())


def test_one_counter_orders_the_writes_of_all_resources() -> None:
    store = VersionedStore()
    revisions = [store.put(resource, "ns", "a", value()).revision for resource in ("widgets", "gadgets", "widgets")]
    assert revisions == [1, 2, 3]
    assert store.delete("gadgets", "ns", "a", value()).revision == 4
    assert store.revision == 4


def test_a_value_carries_its_revision_and_labels() -> None:
    entry = VersionedStore().put("widgets", "ns", "a", value(tier="x"))
    assert msgspec.json.decode(entry.value)["metadata"]["resourceVersion"] == "1"
    assert entry.labels == {"tier": "x"}


@pytest.mark.parametrize("expected", [0, 7])
def test_a_write_that_expects_another_revision_fails(expected: int) -> None:
    store = VersionedStore()
    current = store.put("widgets", "ns", "a", value(), expected=0)
    with pytest.raises(RevisionMismatchError) as caught:
        store.put("widgets", "ns", "a", value(), expected=expected)
    assert caught.value.current == current
    assert store.revision == 1


def test_a_delete_of_nothing_fails() -> None:
    with pytest.raises(RevisionMismatchError):
        VersionedStore().delete("widgets", "ns", "a", value())


def test_lists_are_sorted_by_key_and_may_be_of_one_namespace() -> None:
    store = VersionedStore()
    for namespace in ("b", "a-b", "a"):
        fill(store, "y", "x", namespace=namespace)
    assert [entry.key for entry in store.list("widgets")[1]] == [
        (namespace, name) for namespace in ("a", "a-b", "b") for name in ("x", "y")
    ]
    assert [entry.key for entry in store.list("widgets", namespace="a")[1]] == [("a", "x"), ("a", "y")]


def test_a_past_state_is_listed() -> None:
    store = VersionedStore()
    fill(store, "a", "b")
    store.delete("widgets", "ns", "a", value())
    fill(store, "c", "b")
    revision, entries = store.list("widgets", at=2)
    assert revision == 2
    assert [(entry.name, entry.revision) for entry in entries] == [("a", 1), ("b", 2)]


def test_history_is_bounded() -> None:
    store = VersionedStore(history_limit=10)
    fill(store, *(f"n{i}" for i in range(40)))
    with pytest.raises(CompactedError):
        store.list("widgets", at=5)
    with pytest.raises(CompactedError):
        store.subscribe("widgets", since=5, callback=lambda _: None)
    assert len(store.list("widgets", at=32)[1]) == 32


def test_compaction_forgets_the_past_of_every_resource() -> None:
    store = VersionedStore()
    fill(store, "a", "b")
    store.compact()
    for resource in ("widgets", "never-written"):
        with pytest.raises(CompactedError):
            store.subscribe(resource, since=1, callback=lambda _: None)
        store.subscribe(resource, since=2, callback=lambda _: None)


def test_a_subscription_begins_with_the_past_and_goes_on() -> None:
    store, seen = VersionedStore(), []
    fill(store, "a", "b")
    store.subscribe("widgets", since=1, callback=seen.append)
    store.put("widgets", "ns", "a", value())
    store.delete("widgets", "ns", "b", value())
    fill(store, "x", resource="gadgets")
    assert [(e.type, e.entry.name, e.revision) for e in seen] == [
        ("ADDED", "b", 2),
        ("MODIFIED", "a", 3),
        ("DELETED", "b", 4),
    ]
    assert seen[1].previous.revision == 1


def test_a_closed_subscription_is_told_nothing() -> None:
    store, seen = VersionedStore(), []
    subscription = store.subscribe("widgets", since=0, callback=seen.append)
    subscription.close()
    subscription.close()
    fill(store, "a")
    assert seen == []


def test_progress_comes_behind_the_events_it_speaks_of() -> None:
    store, seen = VersionedStore(), []
    subscription = store.subscribe("widgets", since=0, callback=seen.append)
    fill(store, "a")
    fill(store, "x", resource="gadgets")
    subscription.request_progress()
    assert [type(notice) for notice in seen] == [StoreEvent, Progress]
    assert seen[1].revision == 2


def test_a_subscriber_may_write_and_sees_its_own_writes_in_order() -> None:
    store, seen = VersionedStore(), []

    def callback(notice: Notice) -> None:
        assert isinstance(notice, StoreEvent)
        if notice.entry.name == "a":
            fill(store, "b")
        seen.append(notice.entry.name)

    store.subscribe("widgets", since=0, callback=callback)
    fill(store, "a", "c")
    assert seen == ["a", "b", "c"]


def test_a_failing_subscriber_does_not_fail_the_writer() -> None:
    store, seen = VersionedStore(), []

    def fail(_: Notice) -> None:
        raise RuntimeError("broken")

    store.subscribe("widgets", since=0, callback=fail)
    store.subscribe("widgets", since=0, callback=seen.append)
    fill(store, "a", "b")
    assert len(seen) == 2


def test_writers_in_many_threads_are_told_of_in_order() -> None:
    store, seen = VersionedStore(), []
    store.subscribe("widgets", since=0, callback=lambda notice: seen.append(notice.revision))
    threads = [threading.Thread(target=fill, args=(store, *(f"{t}-{i}" for i in range(100)))) for t in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    # The last writer to finish may leave delivery to another thread, but not undone.
    assert seen == list(range(1, 401))


class MemoryJournal:
    def __init__(self) -> None:
        self.records: list[JournalRecord] = []

    def load(self) -> tuple[int, Iterable[JournalRecord]]:
        living = {(r.resource, r.namespace, r.name): r for r in self.records}
        highest = max((r.revision for r in self.records), default=0)
        return highest, [record for record in living.values() if record.value is not None]

    def append(self, record: JournalRecord) -> None:
        if record.name == "refused":
            raise OSError("disk full")
        self.records.append(record)


def test_a_store_on_a_journal_goes_on_where_it_ended() -> None:
    journal = MemoryJournal()
    before = VersionedStore(journal=journal)
    fill(before, "a", "b")
    before.delete("widgets", "ns", "b", value())
    after = VersionedStore(journal=journal)
    assert after.revision == 3
    assert after.list("widgets") == (3, [before.get("widgets", "ns", "a")])
    with pytest.raises(CompactedError):
        after.subscribe("widgets", since=2, callback=lambda _: None)


def test_a_write_that_the_journal_refuses_has_not_happened() -> None:
    store = VersionedStore(journal=MemoryJournal())
    with pytest.raises(OSError, match="disk full"):
        fill(store, "refused")
    assert store.revision == 0
    assert store.get("widgets", "ns", "refused") is None
