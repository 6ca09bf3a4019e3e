"""The resource types keep what they do not know and write what a Go client would write."""

from __future__ import annotations

from typing import Any

import pytest

from localmodel.api import (
    ClusterStorageContainer,
    LocalModelCache,
    LocalModelNode,
    LocalModelNodeGroup,
    ModelCopies,
    ModelStatus,
    NodeStatus,
)
from localmodel.runtime.objects import Object

CACHE: dict[str, Any] = {
    "apiVersion": "serving.kserve.io/v1alpha1",
    "kind": "LocalModelCache",
    "metadata": {"name": "iris"},
    "spec": {
        "sourceModelUri": "hf://o/m",
        "modelSize": "10Gi",
        "nodeGroups": ["workers"],
        "storage": {"key": "", "parameters": {"type": "s3"}},
        "added": {"by": "somebody"},
    },
    "status": {"nodeStatus": {"node-1": "NodeDownloaded"}, "copies": {"available": 1, "total": 1}},
}


def test_a_cache_survives_reading_and_writing_unchanged() -> None:
    assert LocalModelCache.from_dict(CACHE).to_dict() == CACHE


def test_zero_copies_are_written() -> None:
    assert ModelCopies(available=0, total=2, failed=0).to_dict() == {"available": 0, "total": 2, "failed": 0}


def test_states_are_written_as_their_text() -> None:
    node = LocalModelNode()
    node.status.model_status["iris"] = ModelStatus.MODEL_DOWNLOADED
    assert b'"modelStatus":{"iris":"ModelDownloaded"}' in node.to_json()
    assert NodeStatus.NODE_DOWNLOAD_ERROR == "NodeDownloadError"


@pytest.mark.parametrize("kind", [LocalModelCache, LocalModelNode, LocalModelNodeGroup, ClusterStorageContainer])
def test_an_object_without_a_spec_can_be_read_d24(kind: type[Object]) -> None:
    assert kind.from_dict({"metadata": {"name": "x"}}).name == "x"


def test_a_state_of_a_newer_version_can_be_read() -> None:
    node = LocalModelNode.from_dict({"metadata": {"name": "n"}, "status": {"modelStatus": {"iris": "ModelMoved"}}})
    assert node.status.model_status == {"iris": "ModelMoved"}


def test_the_affinity_of_a_group_is_its_volumes() -> None:
    group = LocalModelNodeGroup.from_dict({"spec": {"persistentVolumeSpec": {"nodeAffinity": {"required": {}}}}})
    assert group.node_affinity == {"required": {}}
    assert LocalModelNodeGroup().node_affinity is None
