"""Tools for tests of reconcilers: an in-memory API server without HTTP, a client on it, a clock moved by hand.

>>> client = FakeClient(Namespace(metadata=ObjectMeta(name="models")))
>>> client.get(Namespace, "models").name
'models'

The names are imported when they are first used: the embedded API server needs the registry and no fake client.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .definitions import AdmissionAttributes, ResourceDefinition, UserInfo
    from .fake import Action, FakeClient, Interceptor
    from .fake_clock import FakeClock
    from .faults import Fault, Faults
    from .registry import Registry
    from .store import Journal, JournalRecord, VersionedStore
    from .watching import Watch
    from .writing import Written

__all__ = [
    "Action",
    "AdmissionAttributes",
    "FakeClient",
    "FakeClock",
    "Fault",
    "Faults",
    "Interceptor",
    "Journal",
    "JournalRecord",
    "Registry",
    "ResourceDefinition",
    "UserInfo",
    "VersionedStore",
    "Watch",
    "Written",
]

_HOMES = {
    "definitions": ("AdmissionAttributes", "ResourceDefinition", "UserInfo"),
    "fake": ("Action", "FakeClient", "Interceptor"),
    "fake_clock": ("FakeClock",),
    "faults": ("Fault", "Faults"),
    "registry": ("Registry",),
    "store": ("Journal", "JournalRecord", "VersionedStore"),
    "watching": ("Watch",),
    "writing": ("Written",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value
