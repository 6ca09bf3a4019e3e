"""Whatever a watch suffers, store, handlers and late handlers end up with exactly what the server has."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from support.scripted import eventually

from localmodel.runtime.backoff import BackoffOptions
from localmodel.runtime.errors import ExpiredError, InternalError, TooManyRequestsError, TransportError
from localmodel.runtime.informer import InformerOptions, SharedInformer
from localmodel.runtime.listwatch import ListOptions, ListPage, WatchEvent, WatchOptions, WatchStream
from localmodel.runtime.objects import ConfigMap, ObjectKey, ObjectMeta
from localmodel.runtime.reflector import ReflectorOptions
from localmodel.runtime.store import Stored
from localmodel.runtime.testing.fake import FakeClient

FAULTS: list[Exception] = [
    TransportError("connection reset"),
    TooManyRequestsError.of("slow down"),
    InternalError.of("oops"),
    ExpiredError.of("too old"),
    RuntimeError("a bug"),
]


class Stormy:
    """A client whose lists fail at times, and whose watches break after a few events."""

    def __init__(self, client: FakeClient, rng: random.Random) -> None:
        self._client = client
        self._rng = rng
        self.calm = False

    def list_page(self, kind: Any, options: ListOptions) -> ListPage:
        if not self.calm and self._rng.random() < 0.3:
            raise self._rng.choice(FAULTS)
        return self._client.list_page(kind, options)

    def watch(self, kind: Any, options: WatchOptions) -> WatchStream:
        if not self.calm and self._rng.random() < 0.3:
            raise self._rng.choice(FAULTS)
        return _StormyStream(self._client.watch(kind, options), self)

    def breaks(self) -> bool:
        return not self.calm and self._rng.random() < 0.1

    def fault(self) -> Exception | None:
        return self._rng.choice([*FAULTS, None])


class _StormyStream:
    def __init__(self, stream: WatchStream, storm: Stormy) -> None:
        self._stream = stream
        self._storm = storm

    def __iter__(self) -> Iterator[WatchEvent]:
        for event in self._stream:
            if self._storm.breaks():
                fault = self._storm.fault()
                if fault is None:
                    return
                raise fault
            yield event

    def limit_silence(self, seconds: float) -> None:
        self._stream.limit_silence(seconds)

    def close(self) -> None:
        self._stream.close()


class Mirror:
    """Rebuilds the collection from what a handler hears; notes what cannot be."""

    def __init__(self) -> None:
        self.objects: dict[ObjectKey, str] = {}
        self.contradictions: list[str] = []

    def on_add(self, obj: Stored[ConfigMap], is_in_initial_list: bool) -> None:
        if obj.key in self.objects:
            self.contradictions.append(f"added twice: {obj}")
        self.objects[obj.key] = obj.resource_version

    def on_update(self, old: Stored[ConfigMap], new: Stored[ConfigMap]) -> None:
        if self.objects.get(new.key) != old.resource_version:
            self.contradictions.append(f"updated from a version never heard of: {old} to {new}")
        self.objects[new.key] = new.resource_version

    def on_delete(self, obj: Stored[ConfigMap], final_state_unknown: bool) -> None:
        if self.objects.pop(obj.key, None) is None:
            self.contradictions.append(f"deleted but never added: {obj}")


def _change(client: FakeClient, rng: random.Random, turn: int) -> None:
    name = f"m{rng.randrange(20)}"
    known = client.find(ConfigMap, name, namespace="n")
    if known is None:
        client.create(ConfigMap(metadata=ObjectMeta(name=name, namespace="n"), data={"turn": str(turn)}))
    elif rng.random() < 0.3:
        client.delete(known)
    else:
        known.data = {"turn": str(turn)}
        client.update(known)


@pytest.mark.parametrize("seed", range(5))
def test_store_and_handlers_converge_on_what_the_server_has(seed: int) -> None:
    rng = random.Random(seed)
    client = FakeClient()
    storm = Stormy(client, random.Random(seed))
    options = InformerOptions(
        reflector=ReflectorOptions(backoff=BackoffOptions(initial=0.0005, maximum=0.002), page_size=7)
    )
    informer: SharedInformer[ConfigMap] = SharedInformer(ConfigMap, storm, options)
    informer.add_indexer("turn", lambda obj: [obj.data["turn"]])
    mirrors = [Mirror()]
    informer.add_event_handler(mirrors[0])
    informer.start()
    pause = threading.Event()
    try:
        for turn in range(300):
            _change(client, rng, turn)
            if turn % 50 == 0:
                mirrors.append(Mirror())
                informer.add_event_handler(mirrors[-1])
            if turn % 10 == 0:
                pause.wait(0.001)
        storm.calm = True
        expected = {obj.key: obj.metadata.resource_version for obj in client.list(ConfigMap)}
        eventually(lambda: {item.key: item.resource_version for item in informer.store.list()} == expected)
        for mirror in mirrors:
            eventually(lambda mirror=mirror: mirror.objects == expected)
        assert [contradiction for mirror in mirrors for contradiction in mirror.contradictions] == []
        turns = {obj.data["turn"] for obj in client.list(ConfigMap)}
        assert informer.store.index_values("turn") == turns
        assert informer.stats[0].failures > 0, "there was a storm"
    finally:
        informer.stop()
