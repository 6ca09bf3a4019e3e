"""Tools for tests of reconcilers: an in-memory API server without HTTP, a client on it, a clock moved by hand.

>>> client = FakeClient(Namespace(metadata=ObjectMeta(name="models")))
>>> client.get(Namespace, "models").name
'models'

The names are imported when they are first used: the embedded API server needs the registry and no fake client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from localmodel.runtime.lazy import lazy_exports

if TYPE_CHECKING:
    from .background import QUIET, BackgroundManager
    from .definitions import AdmissionAttributes, ResourceDefinition, UserInfo
    from .fake import Action, FakeClient, Interceptor
    from .fake_clock import FakeClock
    from .faults import Fault, Faults
    from .garbage import collect_garbage
    from .recorder import FakeRecorder, RecordedEvent
    from .registry import Registry
    from .store import Journal, JournalRecord, VersionedStore
    from .waiting import eventually
    from .watching import Watch
    from .wiring import wire
    from .writerequest import Written

__all__ = [
    "QUIET",
    "Action",
    "AdmissionAttributes",
    "BackgroundManager",
    "FakeClient",
    "FakeClock",
    "FakeRecorder",
    "Fault",
    "Faults",
    "Interceptor",
    "Journal",
    "JournalRecord",
    "RecordedEvent",
    "Registry",
    "ResourceDefinition",
    "UserInfo",
    "VersionedStore",
    "Watch",
    "Written",
    "collect_garbage",
    "eventually",
    "wire",
]

_HOMES = {
    "background": ("QUIET", "BackgroundManager"),
    "definitions": ("AdmissionAttributes", "ResourceDefinition", "UserInfo"),
    "waiting": ("eventually",),
    "fake": ("Action", "FakeClient", "Interceptor"),
    "fake_clock": ("FakeClock",),
    "faults": ("Fault", "Faults"),
    "garbage": ("collect_garbage",),
    "recorder": ("FakeRecorder", "RecordedEvent"),
    "registry": ("Registry",),
    "store": ("Journal", "JournalRecord", "VersionedStore"),
    "watching": ("Watch",),
    "wiring": ("wire",),
    "writerequest": ("Written",),
}

__getattr__, __dir__ = lazy_exports(__name__, _HOMES)
