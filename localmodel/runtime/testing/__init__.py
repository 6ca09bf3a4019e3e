"""Tools for tests of reconcilers: an in-memory API server without HTTP, a client on it, a clock moved by hand.

>>> client = FakeClient(Namespace(metadata=ObjectMeta(name="models")))
>>> client.get(Namespace, "models").name
'models'
"""

from __future__ import annotations

import importlib
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
