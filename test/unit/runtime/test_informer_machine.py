"""Whatever happens to objects, streams and handlers, folding what a handler heard gives exactly the store.

A hypothesis state machine: objects in three namespaces change, watches break, outages hide changes, handlers (some
filtered) come late and go. Numbers are statements of reference/runtimes.md.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    multiple,
    rule,
    run_state_machine_as_test,
)
from support.scripted import error_event, eventually

from localmodel.runtime.backoff import BackoffOptions
from localmodel.runtime.errors import ExpiredError, TransportError
from localmodel.runtime.filtering import FilteringResourceEventHandler
from localmodel.runtime.informer import Registration, SharedInformer
from localmodel.runtime.informer_options import InformerOptions
from localmodel.runtime.listwatch import ListOptions, ListPage, WatchEvent, WatchOptions, WatchStream
from localmodel.runtime.objects import ConfigMap, ObjectKey, ObjectMeta
from localmodel.runtime.reflector import ReflectorOptions
from localmodel.runtime.store import Stored
from localmodel.runtime.testing.fake import FakeClient

NAMESPACES = ("n1", "n2", "unwatched")
WATCHED = ("n1", "n2")
WANTED = {"wanted": "yes"}

namespaces = st.sampled_from(NAMESPACES)
names = st.sampled_from("abcd")


class Line:
    """The way to the server: it can be cut, and be down for a time."""

    def __init__(self, client: FakeClient) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._open: set[_Cuttable] = set()
        self._down = False

    def list_page(self, kind: Any, options: ListOptions) -> ListPage:
        self._check()
        return self._client.list_page(kind, options)

    def watch(self, kind: Any, options: WatchOptions) -> WatchStream:
        self._check()
        stream = _Cuttable(self._client.watch(kind, options))
        with self._lock:
            self._open.add(stream)
        return stream

    def cut(self, end: WatchEvent | Exception | None) -> None:
        """Ends every open watch, with an error, an ERROR event, or cleanly."""
        with self._lock:
            streams, self._open = self._open, set()
        for stream in streams:
            stream.cut(end)

    def set_down(self, down: bool) -> None:
        self._down = down
        if down:
            self.cut(TransportError("connection reset"))

    def _check(self) -> None:
        if self._down:
            raise TransportError("connection refused")


class _Cuttable:
    def __init__(self, stream: WatchStream) -> None:
        self._stream = stream
        self._cut = threading.Event()
        self._end: WatchEvent | Exception | None = None

    def cut(self, end: WatchEvent | Exception | None) -> None:
        self._end = end
        self._cut.set()
        self._stream.close()

    def __iter__(self) -> Iterator[WatchEvent]:
        for event in self._stream:
            if self._cut.is_set():
                break
            yield event
        if isinstance(self._end, Exception):
            raise self._end
        if self._end is not None:
            yield self._end

    def limit_silence(self, seconds: float) -> None:
        self._stream.limit_silence(seconds)

    def close(self) -> None:
        self._stream.close()


class Mirror:
    """Folds what it hears; notes what cannot be."""

    def __init__(self) -> None:
        self.objects: dict[ObjectKey, str] = {}
        self.heard = 0
        self.contradictions: list[str] = []

    def on_add(self, obj: Stored[ConfigMap], is_in_initial_list: bool) -> None:
        self.heard += 1
        if obj.key in self.objects:
            self.contradictions.append(f"added twice: {obj}")
        self.objects[obj.key] = obj.resource_version

    def on_update(self, old: Stored[ConfigMap], new: Stored[ConfigMap]) -> None:
        self.heard += 1
        if self.objects.get(new.key) != old.resource_version:
            self.contradictions.append(f"updated from a version never heard of: {old} to {new}")
        self.objects[new.key] = new.resource_version

    def on_delete(self, obj: Stored[ConfigMap], final_state_unknown: bool) -> None:
        self.heard += 1
        if self.objects.pop(obj.key, None) is None:
            self.contradictions.append(f"deleted but never added: {obj}")


class Handler:
    """One registered mirror."""

    def __init__(self, informer: SharedInformer[ConfigMap], *, filtered: bool) -> None:
        self.mirror = Mirror()
        self.filtered = filtered
        handler: Any = self.mirror
        if filtered:
            handler = FilteringResourceEventHandler(lambda obj: obj.labels == WANTED, self.mirror)
        self.registration: Registration[ConfigMap] = informer.add_event_handler(handler)


class Convergence(RuleBasedStateMachine):
    handlers: Bundle[Handler] = Bundle("handlers")

    def __init__(self) -> None:
        super().__init__()
        self.client = FakeClient()
        self.line = Line(self.client)
        backoff = BackoffOptions(initial=0.0005, maximum=0.002)
        options = InformerOptions(namespaces=WATCHED, reflector=ReflectorOptions(backoff=backoff, page_size=3))
        self.informer: SharedInformer[ConfigMap] = SharedInformer(ConfigMap, self.line, options)
        self.informer.add_indexer("turn", lambda obj: [obj.data["turn"]])
        self.present: list[Handler] = []
        self.removed: list[tuple[Handler, int]] = []
        self.turn = 0

    @initialize(target=handlers, filtered=st.booleans())
    def start(self, filtered: bool) -> Any:
        handler = self.add_handler(filtered)
        self.informer.start()
        return multiple(handler)

    @rule(target=handlers, filtered=st.booleans())
    def add_handler(self, filtered: bool) -> Handler:
        self.present.append(Handler(self.informer, filtered=filtered))
        return self.present[-1]

    @rule(handler=consumes(handlers))
    def remove_handler(self, handler: Handler) -> None:
        handler.registration.remove()
        self.present.remove(handler)
        self.removed.append((handler, handler.mirror.heard))

    @rule(namespace=namespaces, name=names, wanted=st.booleans())
    def write(self, namespace: str, name: str, wanted: bool) -> None:
        self.turn += 1
        labels = WANTED if wanted else {}
        known = self.client.find(ConfigMap, name, namespace=namespace)
        if known is None:
            meta = ObjectMeta(name=name, namespace=namespace, labels=labels)
            self.client.create(ConfigMap(metadata=meta, data={"turn": str(self.turn)}))
            return
        known.metadata.labels = labels
        known.data = {"turn": str(self.turn)}
        self.client.update(known)

    @rule(namespace=namespaces, name=names)
    def delete(self, namespace: str, name: str) -> None:
        known = self.client.find(ConfigMap, name, namespace=namespace)
        if known is not None:
            self.client.delete(known)

    @rule(namespace=namespaces, name=names, wanted=st.booleans())
    def recreate(self, namespace: str, name: str, wanted: bool) -> None:
        self.delete(namespace, name)
        self.write(namespace, name, wanted)

    @rule(end=st.sampled_from([None, TransportError("reset"), error_event(ExpiredError.of("too old").status)]))
    def cut(self, end: WatchEvent | Exception | None) -> None:
        self.line.cut(end)

    @rule(down=st.booleans())
    def outage(self, down: bool) -> None:
        self.line.set_down(down)

    @rule()
    def settle(self) -> None:
        """Once the line is up, everybody agrees."""
        self.line.set_down(False)
        objects = [obj for namespace in WATCHED for obj in self.client.list(ConfigMap, namespace=namespace)]
        everything = {obj.key: obj.metadata.resource_version for obj in objects}
        wanted = {obj.key: obj.metadata.resource_version for obj in objects if obj.metadata.labels == WANTED}
        store = self.informer.store
        eventually(lambda: {item.key: item.resource_version for item in store.list()} == everything)
        assert store.index_values("turn") == {obj.data["turn"] for obj in objects}
        for handler in self.present:
            eventually(lambda handler=handler: handler.mirror.objects == (wanted if handler.filtered else everything))
            assert handler.registration.wait_for_sync(5)
            assert handler.mirror.contradictions == []

    def teardown(self) -> None:
        try:
            self.settle()
            assert [(handler.mirror.heard, []) for handler, _ in self.removed] == [
                (heard, handler.mirror.contradictions) for handler, heard in self.removed
            ]
        finally:
            self.informer.stop()


def test_63_69_75_folding_what_a_handler_heard_gives_exactly_the_store() -> None:
    """Unfiltered, filtered, late and removed handlers, over two of three namespaces, relists and outages."""
    suppressed = [HealthCheck.too_slow]
    settled = settings(max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=suppressed)
    run_state_machine_as_test(Convergence, settings=settled)  # type: ignore[no-untyped-call]
