"""What groups and caches say about agents: whether they are there, and keep models where the group's volumes look."""

from __future__ import annotations

from typing import Any

import pytest
from support import kserve_crds
from support.manager import Cluster, agent_daemon_set, agent_pod, cache, config_map, group, node

from localmodel.api import LocalModelNode, LocalModelNodeGroup
from localmodel.api.names import NODE_GROUP_LABEL
from localmodel.manager.placement import covers, mounted_path
from localmodel.runtime.conditions import find_status_condition
from localmodel.runtime.errors import ForbiddenError
from localmodel.runtime.objects import DaemonSet, Pod

WORKER = {"kserve/localmodel": "worker"}


def condition(cluster: Cluster, type_: str = "AgentReady", name: str = "gpu") -> tuple[str, str, str] | None:
    found = find_status_condition(cluster.client.get(LocalModelNodeGroup, name).status.conditions, type_)
    return None if found is None else (found.status, found.reason, found.message)


def agent_ready(cluster: Cluster) -> tuple[str, str]:
    cluster.reconcile_group()
    found = condition(cluster)
    assert found is not None
    return found[:2]


def message(cluster: Cluster) -> str:
    found = condition(cluster)
    assert found is not None
    return found[2]


def asking(made: LocalModelNodeGroup) -> LocalModelNodeGroup:
    document = made.to_dict()
    document["spec"]["agent"] = {"image": "agent:1"}
    return LocalModelNodeGroup.from_dict(document)


def of_pool(name: str, *pools: str, path: str = "/mnt/models") -> LocalModelNodeGroup:
    """A group of the nodes of several pools."""
    made = group(name, path=path)
    term = made.spec.persistent_volume_spec["nodeAffinity"]["required"]["nodeSelectorTerms"][0]
    term["matchExpressions"][0]["values"] = list(pools)
    return made


# the group's condition --------------------------------------------------------------------------------------------


def test_agents_on_all_nodes_are_ready() -> None:
    cluster = Cluster(group(), node(), agent_pod(), agent_daemon_set())
    assert agent_ready(cluster) == ("True", "AgentsReady")
    assert cluster.recorder.events == []


def test_a_group_without_nodes_has_no_agents_to_tell_of() -> None:
    cluster = Cluster(group(), node(pool="other"))
    assert agent_ready(cluster) == ("Unknown", "NoNodes")
    assert cluster.recorder.events == []


def test_another_path_of_the_agents_is_told_with_both_paths_and_the_nodes_d12() -> None:
    cluster = Cluster(group(), node(), agent_pod(), agent_daemon_set("/models"))
    assert agent_ready(cluster) == ("False", "AgentPathMismatch")
    assert message(cluster).startswith(
        "DaemonSet kserve/kserve-localmodelnode-agent keeps models in /models on node node-1, LocalModelNodeGroup gpu "
        "in /mnt/models: "
    )
    cluster.recorder.expect("AgentPathMismatch", "/models on node node-1", type_="Warning")


def test_a_slash_more_is_no_other_path_d12() -> None:
    cluster = Cluster(group(path="/mnt/models/"), node(), agent_pod(), agent_daemon_set("/mnt//models"))
    assert agent_ready(cluster) == ("True", "AgentsReady")


def test_a_host_path_volume_of_the_group_is_compared_too_d12() -> None:
    of = group()
    of.spec.persistent_volume_spec["hostPath"] = of.spec.persistent_volume_spec.pop("local")
    cluster = Cluster(of, node(), agent_pod(), agent_daemon_set("/models"))
    assert agent_ready(cluster) == ("False", "AgentPathMismatch")


def test_a_daemon_set_of_other_nodes_is_no_mismatch_d12() -> None:
    cluster = Cluster(group(), node(), agent_pod(), agent_daemon_set("/models", selector=WORKER))
    assert agent_ready(cluster) == ("True", "AgentsReady")


def test_another_groups_managed_daemon_set_is_no_mismatch_d12() -> None:
    cluster = Cluster(asking(of_pool("a", "x", path="/a")), group(), node(), agent_pod())
    cluster.reconcile_group("a")
    assert agent_ready(cluster) == ("True", "AgentsReady")


def test_nodes_without_a_ready_agent_are_named_d39() -> None:
    cluster = Cluster(
        group(), *(node(f"node-{n}") for n in range(1, 5)), agent_pod("node-1"), agent_pod("node-2", ready=False)
    )
    assert agent_ready(cluster) == ("False", "NoAgentOnNode")
    assert message(cluster).startswith("no agent is ready on nodes node-2, node-3, node-4: there is no DaemonSet")
    cluster.recorder.expect("NoAgentOnNode", type_="Warning")


def test_nodes_that_the_daemon_set_does_not_select_are_told_apart_d39() -> None:
    labelled = node("node-1")
    labelled.metadata.labels |= WORKER
    cluster = Cluster(group(), labelled, node("node-2"), agent_daemon_set(selector=WORKER))
    assert agent_ready(cluster) == ("False", "NoAgentOnNode")
    assert "does not select node node-2, which may lack a label" in message(cluster)


def test_where_the_agents_pods_are_to_run_their_list_is_the_next_step_d39() -> None:
    cluster = Cluster(group(), node(), agent_daemon_set())
    assert agent_ready(cluster) == ("False", "NoAgentOnNode")
    assert "see kubectl get pods -n kserve -l control-plane=kserve-localmodelnode-agent" in message(cluster)


def test_a_managed_daemon_set_whose_agents_are_missing_is_named_d39() -> None:
    cluster = Cluster(asking(group()), node())
    assert agent_ready(cluster) == ("False", "NoAgentOnNode")
    assert "node node-1 not labelled localmodel.kserve.io/node-group=gpu" in message(cluster)
    cluster.client.patch(node(), {"metadata": {"labels": {"localmodel.kserve.io/node-group": "gpu"}}})
    agent_ready(cluster)
    assert message(cluster).startswith("no agent is ready on node node-1: DaemonSet kserve/gpu-agent is to run there")


def test_a_hand_installed_daemon_set_beside_the_managed_one_is_told() -> None:
    cluster = Cluster(asking(group()), node(), agent_pod(), agent_daemon_set())
    cluster.reconcile_node()
    assert agent_ready(cluster) == ("False", "SeveralAgents")
    assert "kserve/gpu-agent is the group's" in message(cluster)


def test_agents_by_default_leave_out_the_nodes_of_hand_installed_ones() -> None:
    """Where those cover a part of the group: two agents on one node would write one LocalModelNode."""
    mine = agent_daemon_set(selector={"kubernetes.io/hostname": "node-1"})
    nodes = [node("node-1"), node("node-2")]
    for it in nodes:
        it.metadata.labels["kubernetes.io/hostname"] = it.name
    cluster = Cluster(config_map('{"localModelAgentImage": "agent"}'), group(), *nodes, mine)
    cluster.client.create(agent_pod("node-1"))
    for it in nodes:
        cluster.reconcile_node(it.name)
    assert (cluster.labels("node-1"), cluster.labels("node-2")) == ({}, {NODE_GROUP_LABEL: "gpu"})
    assert agent_ready(cluster)[1] == "NoAgentOnNode"
    assert cluster.client.find(DaemonSet, "gpu-agent", namespace="kserve") is not None
    for name in ("node-1", "node-2"):
        if name == "node-2":
            cluster.client.create(agent_pod(name))
        cluster.client.status.patch(agent_pod(name), {"status": agent_pod().status.to_dict()})
    assert agent_ready(cluster) == ("True", "AgentsReady")
    cluster.client.delete(mine)
    cluster.clock.advance(10)
    cluster.reconcile_node("node-1")
    assert cluster.labels("node-1") == {NODE_GROUP_LABEL: "gpu"}


def test_events_tell_when_agents_go_and_come_and_not_which_node_is_next() -> None:
    cluster = Cluster(group(), node("node-1"), node("node-2"), agent_daemon_set())
    for name in ("node-1", "node-2"):
        agent_ready(cluster)
        cluster.client.create(agent_pod(name))
        cluster.client.status.patch(agent_pod(name), {"status": agent_pod().status.to_dict()})
    agent_ready(cluster)
    cluster.client.delete(cluster.client.get(Pod, "agent-node-1", namespace="kserve"))
    agent_ready(cluster)
    assert cluster.recorder.reasons == ["NoAgentOnNode", "AgentsReady", "NoAgentOnNode"]


def test_many_nodes_give_a_bounded_message() -> None:
    cluster = Cluster(group(), *(node(f"node-{n:04}") for n in range(300)))
    agent_ready(cluster)
    assert "and 295 more" in message(cluster)


# DaemonSets that may not be read ----------------------------------------------------------------------------------


def test_without_the_right_to_read_daemon_sets_the_path_is_unknown_and_the_rest_goes_on_d12() -> None:
    cluster = Cluster(group(), node(), agent_pod())
    cluster.client.faults.fail(ForbiddenError.of("no"), verb="list", kind=DaemonSet, times=None)
    result = cluster.reconcile_group()
    assert condition(cluster) is not None
    assert condition(cluster)[:2] == ("Unknown", "DaemonSetsForbidden")  # type: ignore[index]
    assert condition(cluster, "Ready")[:2] == ("True", "NodesFound")  # type: ignore[index]
    assert result is not None
    assert result.requeue_after > 0


def test_without_that_right_nodes_without_agents_are_known_all_the_same_d39() -> None:
    cluster = Cluster(group(), node())
    cluster.client.faults.fail(ForbiddenError.of("no"), verb="list", kind=DaemonSet, times=None)
    assert agent_ready(cluster) == ("False", "NoAgentOnNode")


def test_without_that_right_nothing_is_made_and_that_is_said() -> None:
    cluster = Cluster(asking(group()), node(), agent_pod())
    cluster.client.faults.fail(ForbiddenError.of("no"), kind=DaemonSet, times=None)
    assert agent_ready(cluster) == ("Unknown", "DaemonSetsForbidden")
    assert "nor make the one that spec.agent asks for" in message(cluster)


def test_without_that_right_a_cache_goes_on_d12() -> None:
    cluster = Cluster(group(), node(), agent_pod(), cache())
    cluster.client.faults.fail(ForbiddenError.of("no"), kind=DaemonSet, times=None)
    cluster.reconcile_cache()
    assert [c.reason for c in cluster.cache().status.conditions] == ["DownloadPending", "DownloadPending", "AsExpected"]


# groups that overlap ----------------------------------------------------------------------------------------------


def test_of_overlapping_groups_the_later_one_is_told_which_wins_where() -> None:
    first, second = of_pool("a", "x", "y", path="/a"), of_pool("b", "y", "z", path="/b")
    cluster = Cluster(first, second, node("node-1", pool="x"), node("node-2", pool="y"), node("node-3", pool="z"))
    cluster.reconcile_group("a")
    cluster.reconcile_group("b")
    assert condition(cluster, "GroupsOverlap", "a") is None
    found = condition(cluster, "GroupsOverlap", "b")
    assert found is not None
    assert found[:2] == ("True", "DifferentPaths")
    assert "LocalModelNodeGroup a has node node-2 too" in found[2]
    assert "/a, not in /b" in found[2]
    cluster.recorder.expect("GroupsOverlap", type_="Warning")


def test_one_path_in_both_is_no_conflict() -> None:
    cluster = Cluster(of_pool("a", "x"), of_pool("b", "x"), node(pool="x"))
    cluster.reconcile_group("b")
    assert condition(cluster, "GroupsOverlap", "b") is None


def test_the_condition_goes_with_the_overlap() -> None:
    cluster = Cluster(of_pool("a", "x", path="/a"), of_pool("b", "x", path="/b"), node(pool="x"))
    cluster.reconcile_group("b")
    cluster.client.delete(cluster.client.get(LocalModelNodeGroup, "a"))
    cluster.reconcile_group("b")
    assert condition(cluster, "GroupsOverlap", "b") is None


# caches -----------------------------------------------------------------------------------------------------------


def test_a_cache_says_that_agents_look_elsewhere_and_what_to_do_d12() -> None:
    cluster = Cluster(group(), node(), cache(), agent_pod(), agent_daemon_set("/models"))
    cluster.reconcile_cache()
    found = find_status_condition(cluster.cache().status.conditions, "Degraded")
    assert found is not None
    assert (found.status, found.reason) == ("True", "AgentPathMismatch")
    assert "/models on node node-1" in found.message
    assert cluster.recorder.reasons == ["AgentPathMismatch"]


def test_a_cache_of_other_groups_does_not_d12() -> None:
    others = (group(), node("node-2"), agent_daemon_set("/models", selector={"pool": "gpu"}))
    cluster = Cluster(group("a"), node(pool="a"), cache("iris", "a"), *others)
    cluster.reconcile_cache()
    assert "AgentPathMismatch" not in cluster.recorder.reasons


def test_an_agent_that_comes_or_goes_concerns_the_caches_that_wait_for_it_d39() -> None:
    cluster = Cluster(group(), node(), cache("waits"), cache("whole"))
    cluster.reconcile_node()
    cluster.report(whole="ModelDownloaded")
    assert [request.name for request in cluster.caches._of_agent(agent_pod())] == ["waits"]


def test_a_cache_waits_for_an_agent_too_where_the_node_has_what_another_cache_of_its_name_had_d45() -> None:
    cluster = Cluster(group(), node(), cache("waits"))
    cluster.reconcile_node()
    cluster.say("waits", "ModelDownloaded", storageKey="0123456789abcdef")
    assert [request.name for request in cluster.caches._of_agent(agent_pod())] == ["waits"]


def test_a_pod_that_has_no_node_yet_concerns_nobody() -> None:
    cluster = Cluster(group(), node(), cache())
    cluster.reconcile_node()
    assert list(cluster.caches._of_agent(agent_pod(""))) == list(cluster.groups._of_agent(agent_pod(""))) == []


# KServe's CRD -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("minimal", [False, True])
def test_under_kserves_crds_what_agents_look_like_is_told_once_though_the_condition_is_pruned(*, minimal: bool) -> None:
    cluster = Cluster(agent_daemon_set("/models"))
    kserve_crds.install(cluster.client, minimal=minimal)
    for obj in (node(), group()):
        cluster.client.create(obj)
    for _ in range(5):
        cluster.reconcile_group()
    assert cluster.recorder.reasons == ["AgentPathMismatch"]


def test_under_kserves_minimal_crds_the_room_is_written_once_with_the_object_d10() -> None:
    cluster = Cluster(node())
    kserve_crds.install(cluster.client, minimal=True)
    cluster.client.create(group())
    report = cluster.client.create(LocalModelNode.from_dict({"metadata": {"name": "node-1"}}))
    disk = {"used": "1Gi", "available": "9Gi"}
    cluster.client.status.patch(report, {"status": {"disk": disk}})
    for _ in range(5):
        cluster.reconcile_group()
    status = cluster.client.get(LocalModelNodeGroup, "gpu").status
    assert (status.used, status.available) == ("1Gi", "9Gi")
    whole = [a for a in cluster.client.writes if a.kind is LocalModelNodeGroup and a.verb == "update"]
    assert len([action for action in whole if not action.subresource]) == 1


# what a DaemonSet says --------------------------------------------------------------------------------------------


def placed(**spec: Any) -> DaemonSet:
    made = agent_daemon_set()
    made.spec["template"]["spec"] |= spec
    return made


def required(*expressions: dict[str, Any]) -> dict[str, Any]:
    terms = {"nodeSelectorTerms": [{"matchExpressions": list(expressions)}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, True),
        ({"nodeSelector": {"pool": "gpu"}}, True),
        ({"nodeSelector": {"pool": "cpu"}}, False),
        ({"affinity": required({"key": "pool", "operator": "In", "values": ["gpu"]})}, True),
        ({"affinity": required({"key": "pool", "operator": "NotIn", "values": ["gpu"]})}, False),
        ({"affinity": required({"key": "pool", "operator": "Like"})}, False),
        ({"nodeSelector": {"pool": "cpu"}, "affinity": required({"key": "pool", "operator": "Exists"})}, False),
    ],
)
def test_node_selector_and_affinity_must_both_admit_the_node(spec: dict[str, Any], *, expected: bool) -> None:
    assert covers(placed(**spec), node()) is expected


def test_the_path_is_that_of_the_volume_at_mnt_models_with_its_sub_path() -> None:
    mounts = [{"name": "tmp", "mountPath": "/tmp"}, {"name": "m", "mountPath": "/mnt/models/", "subPath": "a"}]
    volumes = [{"name": "tmp", "emptyDir": {}}, {"name": "m", "hostPath": {"path": "/disk"}}]
    container = {"name": "manager", "volumeMounts": mounts}
    assert mounted_path(placed(containers=[{"name": "sidecar"}, container], volumes=volumes)) == "/disk/a"
    assert mounted_path(placed(containers=[container], volumes=[])) == ""
    assert mounted_path(DaemonSet()) == ""


def test_without_the_right_to_read_pods_nothing_is_said_of_agents_and_the_rest_goes_on() -> None:
    cluster = Cluster(group(), node(), cache())
    cluster.client.faults.fail(ForbiddenError.of("no"), verb="list", kind=Pod, times=None)
    assert agent_ready(cluster) == ("Unknown", "PodsForbidden")
    cluster.reconcile_node()
    cluster.reconcile_cache()
    reasons = [condition.reason for condition in cluster.cache().status.conditions]
    assert "NoAgentOnNode" not in reasons
