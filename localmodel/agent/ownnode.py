"""The agent's own Node: its labels, which decide about groups (D-38).

Only metadata is fetched and kept, and only labels wake the agent: the kubelet's heartbeats, conditions and images do
not.
"""

from __future__ import annotations

from typing import Final

from localmodel.runtime.objects import Node, PartialObjectMetadata

NodeMetadata: Final = PartialObjectMetadata.of(Node.mapping)
"""The type of a Node of which only the metadata is known."""
