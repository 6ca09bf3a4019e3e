"""A status is written where it says something new, and nothing of it is lost to a stale cache."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from localmodel.agent.status import ModelReport, NodeModels, NodeStatusWriter, ProgressPolicy, build_status
from localmodel.agent.usage import DiskUsage
from localmodel.api import LocalModelNode
from localmodel.api.node import LocalModelNodeStatus, ModelStatus
from localmodel.runtime.errors import ConflictError
from localmodel.runtime.testing.fake import FakeClient
from localmodel.runtime.testing.fake_clock import FakeClock


class Writing:
    """A LocalModelNode and the writer of its status; `say` reports a download of 100 bytes."""

    def __init__(self, *, interval: float = 15) -> None:
        self.clock = FakeClock()
        self.client = FakeClient(LocalModelNode.from_dict({"metadata": {"name": "n"}}), clock=self.clock)
        policy = ProgressPolicy.every(interval)
        self.writer = NodeStatusWriter(self.client, self.client, policy=policy, clock=self.clock)

    def say(
        self, downloaded: int, status: ModelStatus = ModelStatus.MODEL_DOWNLOADING, *, available: int = 9_000
    ) -> bool:
        node = self.client.get(LocalModelNode, "n")
        report = ModelReport(status=status, size=100, downloaded=downloaded)
        facts = DiskUsage(capacity=10_000, available=available, used=downloaded)
        wanted = build_status(node.status, {"iris": report}, usage=facts, limit=None)
        return self.writer.write(node, wanted)


def test_mere_progress_is_written_15_seconds_and_5_percent_apart() -> None:
    writing = Writing()
    assert writing.say(1)
    assert not writing.say(50), "too soon"
    writing.clock.advance(15)
    assert not writing.say(5), "too little"
    assert writing.say(6)


def test_the_room_on_the_disk_is_written_15_seconds_and_1_percent_apart() -> None:
    """Others take it, too."""
    writing = Writing()
    assert writing.say(1)
    writing.clock.advance(15)
    assert not writing.say(1, available=8_901)
    assert writing.say(1, available=8_900)


def test_a_change_of_state_is_written_at_once() -> None:
    writing = Writing()
    assert writing.say(1)
    assert writing.say(100, ModelStatus.MODEL_DOWNLOADED)
    assert not writing.say(100, ModelStatus.MODEL_DOWNLOADED)


def test_where_someone_watches_each_movement_counts() -> None:
    writing = Writing(interval=1)
    assert writing.say(1)
    writing.clock.advance(1)
    assert writing.say(2)


def test_what_a_status_says_of_a_model_is_kept_while_its_report_is_the_same() -> None:
    models, report = NodeModels(), ModelReport(status=ModelStatus.MODEL_DOWNLOADED, size=1)
    first = models.of([("iris", report)], {})
    again = models.of([("iris", report)], first)
    other = models.of([("iris", replace(report, size=2))], again)
    assert again["iris"] is first["iris"]
    assert other["iris"].size_bytes == 2
    assert models.of([], other) == {}


def test_an_agent_that_finds_its_status_as_it_shall_be_writes_nothing() -> None:
    writing = Writing()
    assert writing.say(100, ModelStatus.MODEL_DOWNLOADED)
    writing.writer = NodeStatusWriter(writing.client, writing.client, policy=ProgressPolicy(), clock=writing.clock)
    assert not writing.say(100, ModelStatus.MODEL_DOWNLOADED)


def test_a_status_that_somebody_empties_is_written_again_also_by_an_agent_that_wrote_none() -> None:
    writing = Writing()
    assert writing.say(100, ModelStatus.MODEL_DOWNLOADED)
    writing.writer = NodeStatusWriter(writing.client, writing.client, policy=ProgressPolicy(), clock=writing.clock)
    assert not writing.say(100, ModelStatus.MODEL_DOWNLOADED)
    writing.client.status.patch(writing.client.get(LocalModelNode, "n"), {"status": None})
    assert writing.say(100, ModelStatus.MODEL_DOWNLOADED)


def stale_node(writing: Writing) -> LocalModelNode:
    """As a cache shows it that has not heard of the last write."""
    node = writing.client.get(LocalModelNode, "n")
    writing.client.patch(node, {"metadata": {"labels": {"a": "b"}}})
    return node


def written(writing: Writing) -> int:
    return len([action for action in writing.client.writes if action.subresource == "status"])


WANTED = build_status(
    LocalModelNodeStatus(), {"iris": ModelReport(status=ModelStatus.MODEL_DOWNLOADED)}, usage=None, limit=None
)


def test_a_stale_cache_does_not_lose_a_status() -> None:
    writing = Writing()
    assert writing.writer.write(stale_node(writing), WANTED)
    assert writing.client.get(LocalModelNode, "n").status.model_status == {"iris": "ModelDownloaded"}


def test_what_a_conflict_finds_written_already_is_not_written_again() -> None:
    writing = Writing()
    stale = stale_node(writing)
    node = writing.client.get(LocalModelNode, "n")
    node.status = WANTED
    writing.client.status.update(node)
    version = writing.client.get(LocalModelNode, "n").metadata.resource_version
    before = written(writing)
    assert writing.writer.write(stale, WANTED)
    assert written(writing) == before + 1, "the one that was refused"
    assert writing.client.get(LocalModelNode, "n").metadata.resource_version == version


@pytest.mark.parametrize("is_made_anew", [False, True])
def test_the_status_of_a_node_that_is_gone_goes_to_no_other(is_made_anew: bool) -> None:
    writing = Writing()
    stale = stale_node(writing)
    writing.client.delete(writing.client.get(LocalModelNode, "n"))
    if is_made_anew:
        writing.client.create(LocalModelNode.from_dict({"metadata": {"name": "n"}}))
    writing.writer.write(stale, WANTED)
    found = writing.client.find(LocalModelNode, "n")
    assert (found is not None) is is_made_anew
    assert found is None or found.status.model_status == {}


def test_where_the_kind_is_gone_there_is_nothing_to_write() -> None:
    writing = Writing()
    node = writing.client.get(LocalModelNode, "n")
    writing.client.withdraw(LocalModelNode)
    writing.writer.write(node, WANTED)


def test_a_pruned_status_is_not_written_again_and_again() -> None:
    def prune(action: Any, proceed: Any) -> Any:
        if action.subresource == "status":
            action.object.status.models = {}
        return proceed()

    writing = Writing()
    writing.writer = NodeStatusWriter(
        FakeClient(registry=writing.client.registry, interceptors=[prune]),
        writing.client,
        policy=ProgressPolicy(),
        clock=writing.clock,
    )
    assert writing.say(100, ModelStatus.MODEL_DOWNLOADED)
    assert not writing.say(100, ModelStatus.MODEL_DOWNLOADED)


def test_a_conflict_that_does_not_end_is_raised() -> None:
    def refuse(action: Any, proceed: Any) -> Any:
        if action.subresource == "status":
            raise ConflictError.of("modified")
        return proceed()

    writing = Writing()
    client = FakeClient(registry=writing.client.registry, interceptors=[refuse])
    writing.writer = NodeStatusWriter(client, client, policy=ProgressPolicy(), clock=writing.clock)
    with pytest.raises(ConflictError):
        writing.say(1)


def test_when_a_model_was_used_stays_where_a_report_does_not_say() -> None:
    """As where its record could not be read."""
    used = ModelReport(status=ModelStatus.MODEL_DOWNLOADED, last_used_time=FakeClock().now())
    before = build_status(LocalModelNodeStatus(), {"iris": used}, usage=None, limit=None)
    after = build_status(before, {"iris": replace(used, last_used_time=None)}, usage=None, limit=None)
    assert after.models["iris"].last_used_time == used.last_used_time
