"""The node group of an entry that names none."""

from __future__ import annotations

from typing import Any

from support.agent import URI, World

from localmodel.api import LocalModelNode, LocalModelNodeGroup
from localmodel.runtime.errors import ServiceUnavailableError
from localmodel.runtime.objects import Node
from localmodel.runtime.testing.fake import FakeClient


def group(world: World, name: str, *zones: str) -> None:
    term = {"matchExpressions": [{"key": "zone", "operator": "In", "values": list(zones)}]}
    affinity = {"required": {"nodeSelectorTerms": [term]}}
    spec = {"storageLimit": "10Mi", "persistentVolumeSpec": {"nodeAffinity": affinity}}
    world.client.create(LocalModelNodeGroup.from_dict({"metadata": {"name": name}, "spec": spec}))


def want(world: World, **labels: str) -> None:
    world.client.create(Node.from_dict({"metadata": {"name": "node-1", "labels": {"zone": "a", **labels}}}))
    world.want({"modelName": "iris", "sourceModelUri": URI, "nodeGroup": ""})
    world.run()


def claim(world: World) -> str:
    (job,) = world.jobs
    return str(job.spec.template["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"])


def test_it_is_the_first_by_name_that_matches_the_node_d38(world: World) -> None:
    for name, zone in (("later", "a"), ("earlier", "a"), ("another", "b")):
        group(world, name, zone)
    want(world)
    assert claim(world) == "iris-earlier"


def test_the_group_whose_agent_the_node_has_goes_first_d38(world: World) -> None:
    for name in ("earlier", "later"):
        group(world, name, "a")
    want(world, **{"localmodel.kserve.io/node-group": "later"})
    assert claim(world) == "iris-later"


def test_a_label_of_a_group_that_does_not_match_is_no_answer_d38(world: World) -> None:
    group(world, "earlier", "a")
    group(world, "later", "b")
    want(world, **{"localmodel.kserve.io/node-group": "later"})
    assert claim(world) == "iris-earlier"


def test_an_affinity_that_cannot_be_read_stops_no_other_d38(world: World) -> None:
    group(world, "broken")
    group(world, "whole", "a")
    want(world)
    assert claim(world) == "iris-whole"


def test_without_one_that_matches_the_entry_says_so_and_goes_on_when_there_is_one_d38(world: World) -> None:
    group(world, "another", "b")
    want(world)
    assert (world.jobs, world.status(), world.model().reason) == ([], "ModelDownloadError", "DownloadSetupFailed")
    assert "the entry of iris names no node group, and none matches this node by its affinity" in world.model().message
    group(world, "right", "a")
    world.clock.advance(60)
    world.run()
    assert claim(world) == "iris-right"


def test_entries_with_a_group_ask_for_nothing(world: World) -> None:
    world.want({"modelName": "iris", "sourceModelUri": URI})
    world.run()
    assert looks(world) == 0


def test_they_are_asked_for_once_a_minute(world: World) -> None:
    group(world, "right", "a")
    want(world)
    world.client.actions.clear()
    for _ in range(3):
        world.clock.advance(59)
        world.run()
    assert looks(world) == 1


def looks(world: World) -> int:
    return len([a for a in world.client.actions if (a.verb, a.kind) == ("list", LocalModelNodeGroup)])


def test_labels_that_change_are_looked_at_at_once_d38(world: World) -> None:
    group(world, "right", "b")
    want(world)
    assert world.jobs == []
    world.client.patch(world.client.get(Node, "node-1"), {"metadata": {"labels": {"zone": "b"}}})
    world.run()
    assert claim(world) == "iris-right"


def test_a_failure_to_look_stops_no_other_entry(world: World) -> None:
    def refuse(action: Any, proceed: Any) -> Any:
        if (action.verb, action.kind) == ("list", LocalModelNodeGroup):
            raise ServiceUnavailableError.of("no")
        return proceed()

    world.agent.live = FakeClient(registry=world.client.registry, interceptors=[refuse])
    world.want(
        {"modelName": "iris", "sourceModelUri": URI, "nodeGroup": ""},
        {"modelName": "other", "sourceModelUri": "s3://other"},
    )
    world.run()
    assert [job.metadata.labels["model"] for job in world.jobs] == ["other"]
    node = world.client.get(LocalModelNode, "node-1")
    assert node.status.models["iris"].reason == "DownloadSetupFailed"
