"""What the manager concludes from a node's report."""

from __future__ import annotations

from typing import Any

import pytest
from support.manager import detailed

from localmodel.agent.errors import NotRespondingError, RootEmptyError, RootMissingError, RootNotMountedError
from localmodel.api import LocalModelNode, NodeDisk
from localmodel.api.names import storage_key
from localmodel.manager.reported import ReportedNode, reported_node
from localmodel.manager.reports import (
    UNREADABLE,
    disk_of,
    evicted_copies,
    evictions,
    reports_of,
    unfinished_groups,
    version_of,
)
from localmodel.runtime.objects import Condition
from localmodel.runtime.store import Trimmer


def local_model_node(**groups: str) -> LocalModelNode:
    """One entry for each keyword, of the group that it says."""
    entries = [{"modelName": name, "sourceModelUri": f"hf://o/{name}", "nodeGroup": of} for name, of in groups.items()]
    return LocalModelNode.from_dict({"metadata": {"name": "node-1"}, "spec": {"localModels": entries}})


@pytest.mark.parametrize(
    ("status", "fields", "expected"),
    [
        ("", {}, True),
        ("ModelDownloading", {"reason": "Downloading"}, True),
        ("ModelDownloading", {"reason": "Retrying"}, True),
        ("ModelDownloadPending", {}, True),
        ("ModelDownloadPending", {"reason": "Waiting"}, True),
        ("ModelDownloadPending", {"reason": "Repairing"}, True),
        ("ModelDownloadPending", {"reason": "Waiting", "nextRetryTime": "2026-01-01T00:00:00Z"}, False),
        ("ModelDownloadPending", {"reason": "Evicted"}, False),
        ("ModelDownloadPending", {"reason": "InsufficientStorage"}, False),
        ("ModelDownloadPending", {"reason": "CredentialsDiffer"}, False),
        ("ModelDownloadError", {}, False),
        ("ModelDownloaded", {"reason": "Published"}, False),
    ],
)
def test_a_node_is_unfinished_while_its_agent_works_on_an_entry(
    status: str, fields: dict[str, Any], expected: bool
) -> None:
    node = local_model_node(iris="gpu")
    detailed(node, "iris", status, **fields)
    assert (unfinished_groups(node).keys() == {"gpu"}) is expected


def test_without_details_a_pending_model_is_under_way() -> None:
    node = local_model_node(iris="gpu")
    node.status.model_status = {"iris": "ModelDownloadPending"}
    assert list(unfinished_groups(node)) == ["gpu"]


def test_each_group_is_unfinished_by_its_own_entries() -> None:
    node = local_model_node(a="gpu", b="gpu", c="cpu", d="tpu")
    node.status.model_status = dict.fromkeys("abd", "ModelDownloaded")
    assert list(unfinished_groups(node)) == ["cpu"]


def test_a_report_on_another_uri_says_nothing_of_the_entry_d45() -> None:
    node = local_model_node(iris="gpu")
    detailed(node, "iris", "ModelDownloaded", storageKey=storage_key("hf://o/old"), reason="Evicted")
    assert list(unfinished_groups(node)) == ["gpu"]
    assert evicted_copies(node) == {}


def test_evicted_copies_are_those_of_entries() -> None:
    node = local_model_node(iris="gpu")
    for key in ("iris", "gone"):
        detailed(node, key, "ModelDownloadPending", reason="Evicted")
    assert list(evicted_copies(node)) == ["iris"]


INDEXES = (reports_of, evictions, unfinished_groups, disk_of, version_of)


def full_node() -> LocalModelNode:
    node = local_model_node(a="gpu", b="gpu", c="cpu", d="cpu")
    node.metadata.uid, node.metadata.generation = "u", 3
    node.metadata.annotations = {"localmodel.kserve.io/wanted": "k", "other": "x"}
    node.spec.local_models[3].namespace = "team"
    time = "2026-01-01T00:00:00Z"
    detailed(node, "a", "ModelDownloaded", storageKey=storage_key("hf://o/a"), sizeBytes=9, downloadedTime=time)
    detailed(node, "b", "ModelDownloadPending", reason="Evicted", lastUsedTime=time, message="m")
    detailed(node, "c", "ModelDownloadError", attempts=2, nextRetryTime=time, bytesDownloaded=4)
    node.status.model_status["gone"] = "ModelDownloaded"
    node.status.disk = NodeDisk(used="1Gi", available="3Gi")
    node.status.conditions = [
        Condition(type="StorageReady", status="False", reason="RootMissing", message="It is gone.")
    ]
    return node


def test_the_quick_reading_says_what_the_kind_says() -> None:
    stored = Trimmer(LocalModelNode).trim(full_node().to_json())
    quick = reported_node(stored)
    assert isinstance(quick, ReportedNode)
    for index in INDEXES:
        assert index(quick) == index(stored.object()) != {}  # type: ignore[arg-type]


def test_an_object_in_no_order_is_read_as_its_kind() -> None:
    """Null in place of a map is let in by a CRD that allows it."""
    body = b'{"apiVersion":"serving.kserve.io/v1alpha1","kind":"LocalModelNode","metadata":{"name":"n"},%s}'
    stored = Trimmer(LocalModelNode).trim(body % b'"status":{"models":{"a":{"attempts":"3"}}}')
    assert reports_of(reported_node(stored)) == reports_of(stored.object())  # type: ignore[arg-type]
    assert type(reported_node(stored)) is LocalModelNode


def test_a_disk_that_was_not_measured_has_no_room() -> None:
    node = local_model_node()
    assert disk_of(node) == {}
    node.status.disk = NodeDisk(used="", available="much")
    assert [(disk.used, disk.available) for disk in disk_of(node).values()] == [(0, 0)]


def test_the_reasons_of_a_disk_that_cannot_be_read_are_those_that_agents_give() -> None:
    errors = (RootNotMountedError, RootEmptyError, RootMissingError, NotRespondingError)
    assert {error.reason for error in errors} == UNREADABLE
