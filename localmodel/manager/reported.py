"""`reported_node`: a quick reading of what a LocalModelNode says, for the indexes of `reports`.

A thousand agents report, and each report is decoded once for the indexes: into these structures that takes a tenth of
the time that the kind itself takes. They have the attributes of LocalModelNode that the indexes look at.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from localmodel.api import LocalModelNode
from localmodel.runtime.objects import ObjectMeta
from localmodel.runtime.store import Stored


class _Entry(msgspec.Struct, rename="camel", gc=False):
    source_model_uri: str = ""
    model_name: str = ""
    namespace: str = ""
    node_group: str = ""


class _Model(msgspec.Struct, rename="camel", gc=False):
    storage_key: str = ""
    size_bytes: int | None = None
    bytes_downloaded: int | None = None
    attempts: int = 0
    next_retry_time: datetime | None = None
    reason: str = ""
    message: str = ""
    downloaded_time: datetime | None = None
    last_used_time: datetime | None = None


class _Disk(msgspec.Struct, rename="camel", gc=False):
    capacity: str | int = ""
    available: str | int = ""
    used: str | int = ""
    limit: str | int = ""


class _Spec(msgspec.Struct, rename="camel"):
    local_models: list[_Entry] = []


class _Condition(msgspec.Struct, rename="camel", gc=False):
    type: str = ""
    reason: str = ""
    message: str = ""


class _Status(msgspec.Struct, rename="camel"):
    conditions: list[_Condition] = []
    model_status: dict[str, str] = {}
    models: dict[str, _Model] = {}
    disk: _Disk | None = None


class _Body(msgspec.Struct):
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


class ReportedNode(msgspec.Struct):
    """The parts of a LocalModelNode that `reports` reads."""

    metadata: ObjectMeta
    spec: _Spec
    status: _Status

    @property
    def name(self) -> str:
        return self.metadata.name


def reported_node(stored: Stored[Any]) -> ReportedNode | LocalModelNode:
    """The object; as its own kind where it has not the form that it should have. Raises ObjectDecodeError."""
    try:
        body = _decode_body(stored.body)
        return ReportedNode(_decode_metadata(stored.metadata), body.spec, body.status)
    except msgspec.ValidationError:
        found: LocalModelNode = stored.object()
        return found


_decode_body = msgspec.json.Decoder(_Body).decode
_decode_metadata = msgspec.json.Decoder(ObjectMeta).decode
