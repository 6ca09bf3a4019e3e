"""A reflector on a scripted server, stepped by hand, and a sink that remembers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from support.scripted import Script, ScriptedListerWatcher, StepClock, config_map, page

from localmodel.runtime.listwatch import WatchEvent
from localmodel.runtime.objects import ConfigMap
from localmodel.runtime.reflector import Reflector, ReflectorOptions
from localmodel.runtime.store import Stored, Trimmer

ONE = config_map("a", 5)


@dataclass
class RecordingSink:
    """Remembers what a reflector delivered."""

    calls: list[tuple[Any, ...]] = field(default_factory=list)

    def replace(self, items: Sequence[Stored[ConfigMap]], resource_version: str) -> None:
        self.calls.append(("replace", [item.key.name for item in items], resource_version))

    def apply(self, event: WatchEvent, stored: Stored[ConfigMap]) -> None:
        self.calls.append((event.type, stored.key.name, stored.resource_version))

    def bookmark(self, resource_version: str) -> None:
        self.calls.append(("bookmark", resource_version))

    def phase_changed(self) -> None:
        pass


@dataclass
class Rig:
    """A reflector and all that surrounds it."""

    server: ScriptedListerWatcher
    reflector: Reflector[ConfigMap]
    sink: RecordingSink
    clock: StepClock

    def step(self, times: int = 1) -> None:
        for _ in range(times):
            self.reflector.step()

    def pause(self, seconds: float) -> Any:
        """In the script of a watch: so much time passes."""
        return lambda: self.clock.advance(seconds)

    def lasting(self, *script: WatchEvent | Exception | str) -> list[Any]:
        """A watch script that takes two seconds."""
        return [self.pause(2.0), *script]


def rig(
    *lists: Any, watches: Sequence[Any] = (), streams: Sequence[Script | Exception] | None = None, **options: Any
) -> Rig:
    """Streams lists only if there are `streams`; the server has one list of ONE at version 10 by default."""
    server = ScriptedListerWatcher(lists or [page(10, ONE)], watches, streams)
    sink, clock = RecordingSink(), StepClock()
    reflector = Reflector(
        server,
        Trimmer(ConfigMap),
        sink,
        options=ReflectorOptions(use_watch_list=streams is not None, **options),
        clock=clock,
        rng=random.Random(1),
    )
    return Rig(server, reflector, sink, clock)
