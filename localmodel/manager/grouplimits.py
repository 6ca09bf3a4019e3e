"""Tells agents of changed limits: the value of the annotation GROUP_LIMITS_ANNOTATION of a LocalModelNode.

An agent watches no groups, since one's change would wake it whether or not it is the agent's own. It reads the groups
of its entries and remembers them; the annotation says when that is out of date. It carries no limit itself: the group
is the only place where one is said. A pure function.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from hashlib import sha256

from localmodel.api import LocalModelInfo, LocalModelNodeGroup


def group_limits_value(entries: Iterable[LocalModelInfo], groups: Mapping[str, LocalModelNodeGroup]) -> str:
    """16 hexadecimal digits; empty where no entry comes from a group that exists.

    `entries` are those that the node shall have, `groups` all groups by name.
    """
    names = sorted({entry.node_group for entry in entries} & groups.keys())
    said = [_limits(groups[name]) for name in names]
    return sha256(json.dumps(said).encode()).hexdigest()[:16] if said else ""


def _limits(group: LocalModelNodeGroup) -> list[object]:
    """What an agent remembers of a group: its `limits` module."""
    eviction = group.spec.eviction
    watermarks = [eviction.high_watermark_percent, eviction.low_watermark_percent] if eviction is not None else []
    return [group.name, group.spec.storage_limit, *watermarks]
