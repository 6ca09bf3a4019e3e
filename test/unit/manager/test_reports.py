"""What the manager concludes from a node's report."""

from __future__ import annotations

from typing import Any

import pytest
from support.manager import detailed

from localmodel.api import LocalModelNode
from localmodel.api.names import storage_key
from localmodel.manager.reports import evicted_copies, unfinished_groups


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
