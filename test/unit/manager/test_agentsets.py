"""How the DaemonSet of a group comes about, and who else's is left alone."""

from __future__ import annotations

from typing import Any

import pytest
from support.manager import Cluster, IndexedClient, agent_daemon_set, config_map, group, node

from localmodel.api import LocalModelNodeGroup
from localmodel.api.names import agent_daemon_set_name
from localmodel.manager.indexes import add_indexes
from localmodel.manager.nodegroups import LocalModelNodeGroupReconciler
from localmodel.runtime.conditions import find_status_condition
from localmodel.runtime.errors import ForbiddenError, InvalidError, NotFoundError, ServiceUnavailableError
from localmodel.runtime.objects import DaemonSet

CONFIGURED = config_map('{"localModelAgentImage": "configured:1"}')


def asking(image: str = "agent:1", **agent: Any) -> LocalModelNodeGroup:
    document = group().to_dict()
    document["spec"]["agent"] = {"image": image, **agent}
    return LocalModelNodeGroup.from_dict(document)


def ask(cluster: Cluster, **agent: Any) -> None:
    """Changes spec.agent; None for an absent value."""
    cluster.client.patch(cluster.client.get(LocalModelNodeGroup, "gpu"), {"spec": {"agent": agent or None}})


def daemon_set(cluster: Cluster, name: str = "gpu-agent") -> DaemonSet | None:
    return cluster.client.find(DaemonSet, name, namespace="kserve")


def found(cluster: Cluster) -> DaemonSet:
    it = daemon_set(cluster)
    assert it is not None
    return it


def container(cluster: Cluster) -> dict[str, Any]:
    made: dict[str, Any] = found(cluster).spec["template"]["spec"]["containers"][0]
    return made


def agent_ready(cluster: Cluster) -> tuple[str, str, str]:
    conditions = cluster.client.get(LocalModelNodeGroup, "gpu").status.conditions
    condition = find_status_condition(conditions, "AgentReady")
    assert condition is not None
    return condition.status, condition.reason, condition.message


def applies(cluster: Cluster) -> int:
    return len([action for action in cluster.client.writes if action.kind is DaemonSet])


def test_a_group_that_asks_for_agents_gets_a_daemon_set_of_its_path_d12() -> None:
    cluster = Cluster(asking(), node())
    cluster.reconcile_group()
    volume = found(cluster).spec["template"]["spec"]["volumes"][0]
    assert volume["hostPath"]["path"] == "/mnt/models"
    owner = found(cluster).metadata.owner_references[0]
    assert owner.uid == cluster.client.get(LocalModelNodeGroup, "gpu").metadata.uid


def test_it_is_applied_once() -> None:
    cluster = Cluster(asking(), node())
    for _ in range(3):
        cluster.reconcile_group()
    assert applies(cluster) == 1


def test_a_restarted_manager_writes_nothing() -> None:
    cluster = Cluster(asking(resources={"limits": {"cpu": "1000m"}}), node())
    cluster.reconcile_group()
    cluster.groups = cluster.wired(LocalModelNodeGroupReconciler(cluster.settings))
    cluster.client.actions.clear()
    cluster.reconcile_group()
    assert cluster.client.writes == []


def test_it_follows_the_group() -> None:
    cluster = Cluster(asking(tolerations=[{"operator": "Exists"}]), node())
    cluster.reconcile_group()
    uid = found(cluster).metadata.uid
    ask(cluster, image="agent:2", tolerations=None)
    cluster.reconcile_group()
    assert container(cluster)["image"] == "agent:2"
    assert not found(cluster).spec["template"]["spec"].get("tolerations")
    assert found(cluster).metadata.uid == uid


def test_what_somebody_changed_is_put_back_and_what_they_added_stays() -> None:
    cluster = Cluster(asking(), node())
    cluster.reconcile_group()
    changed = found(cluster)
    changed.spec["template"]["spec"]["containers"][0]["image"] = "other"
    changed.spec["template"]["spec"]["priorityClassName"] = "high"
    cluster.client.update(changed)
    cluster.reconcile_group()
    assert container(cluster)["image"] == "agent:1"
    assert found(cluster).spec["template"]["spec"]["priorityClassName"] == "high"


def test_a_webhook_that_changes_what_is_applied_makes_no_loop() -> None:
    cluster = Cluster(asking(), node())
    cluster.reconcile_group()
    reconciler = cluster.groups._agents
    changed = found(cluster)
    changed.spec["template"]["spec"]["containers"][0]["image"] = "mirror/agent:1"
    stored = cluster.client.update(changed)
    uid, _, digest = reconciler._applied["gpu"]
    reconciler._applied["gpu"] = (uid, stored.metadata.generation, digest)
    cluster.reconcile_group()
    assert container(cluster)["image"] == "mirror/agent:1"


def test_it_is_made_again_when_somebody_deletes_it() -> None:
    cluster = Cluster(asking(), node())
    cluster.reconcile_group()
    cluster.client.delete(found(cluster))
    cluster.reconcile_group()
    assert daemon_set(cluster) is not None


def test_it_goes_when_nothing_asks_for_it() -> None:
    cluster = Cluster(asking(), node())
    cluster.reconcile_group()
    ask(cluster)
    cluster.reconcile_group()
    assert daemon_set(cluster) is None


def test_it_stays_when_the_configuration_still_names_an_image() -> None:
    cluster = Cluster(asking(), node(), CONFIGURED)
    cluster.reconcile_group()
    ask(cluster)
    cluster.reconcile_group()
    assert container(cluster)["image"] == "configured:1"


def test_the_configuration_makes_none_where_a_hand_installed_one_covers_the_nodes() -> None:
    cluster = Cluster(group(), node("node-1"), node("node-2"), CONFIGURED, agent_daemon_set(selector={"pool": "gpu"}))
    cluster.reconcile_group()
    assert daemon_set(cluster) is None


def test_the_configuration_makes_one_where_none_covers_all_nodes() -> None:
    bare = node("node-2")
    bare.metadata.labels["kserve/localmodel"] = "worker"
    cluster = Cluster(
        group(), node("node-1"), bare, CONFIGURED, agent_daemon_set(selector={"kserve/localmodel": "worker"})
    )
    cluster.reconcile_group()
    assert daemon_set(cluster) is not None


def test_the_configurations_goes_when_a_hand_installed_one_comes() -> None:
    cluster = Cluster(group(), node(), CONFIGURED)
    cluster.reconcile_group()
    assert daemon_set(cluster) is not None
    cluster.client.create(agent_daemon_set())
    cluster.reconcile_group()
    assert daemon_set(cluster) is None


@pytest.mark.parametrize("labelled", [True, False])
def test_a_foreign_daemon_set_of_the_name_is_left_alone_and_told(*, labelled: bool) -> None:
    foreign = agent_daemon_set(name="gpu-agent")
    if not labelled:
        del foreign.metadata.labels["control-plane"]
    cluster = Cluster(asking(), node(), foreign)
    result = cluster.reconcile_group()
    assert agent_ready(cluster)[:2] == ("False", "AgentConflict")
    assert applies(cluster) == 0
    assert cluster.recorder.reasons == ["AgentConflict"]
    assert result is not None
    assert result.requeue_after > 0


def test_a_foreign_one_is_not_removed_either() -> None:
    cluster = Cluster(group(), node(), agent_daemon_set(name="gpu-agent"))
    cluster.reconcile_group()
    assert daemon_set(cluster) is not None


def test_that_of_an_earlier_group_of_the_name_is_waited_for() -> None:
    cluster = Cluster(asking(), node())
    cluster.reconcile_group()
    cluster.client.delete(cluster.client.get(LocalModelNodeGroup, "gpu"))
    cluster.client.create(asking())
    cluster.reconcile_group()
    assert agent_ready(cluster)[:2] == ("False", "AgentTerminating")


def test_one_made_by_somebody_else_meanwhile_is_not_taken_over() -> None:
    cluster = Cluster(asking(), node())

    def meanwhile(action: Any, proceed: Any) -> Any:
        if action.verb == "apply" and action.kind is DaemonSet and daemon_set(cluster) is None:
            cluster.client.create(agent_daemon_set("/other", name="gpu-agent"))
        return proceed()

    cluster.client._interceptors = (meanwhile, *cluster.client._interceptors)
    with pytest.raises(Exception, match="conflict"):
        cluster.reconcile_group()
    assert found(cluster).metadata.owner_references == []


def test_a_missing_right_is_shown_and_tried_again_d55() -> None:
    cluster = Cluster(asking(), node())
    cluster.client.faults.fail(ForbiddenError.of("may not patch"), verb="apply", kind=DaemonSet)
    with pytest.raises(ForbiddenError):
        cluster.reconcile_group()
    assert agent_ready(cluster) == ("False", "AgentForbidden", "may not patch")
    cluster.reconcile_group()
    assert agent_ready(cluster)[1] != "AgentForbidden"


def test_what_the_server_does_not_take_is_shown() -> None:
    cluster = Cluster(asking(), node())
    cluster.client.faults.fail(InvalidError.of("tolerations: no"), verb="apply", kind=DaemonSet)
    cluster.reconcile_group()
    assert agent_ready(cluster)[:2] == ("False", "AgentInvalid")


def test_what_cannot_be_made_is_shown_and_what_was_made_stays() -> None:
    cluster = Cluster(asking(), node())
    cluster.reconcile_group()
    ask(cluster, image="")
    cluster.reconcile_group()
    assert agent_ready(cluster)[:2] == ("False", "AgentInvalid")
    assert daemon_set(cluster) is not None


@pytest.mark.parametrize("late", [False, True])
def test_a_failed_apply_leads_to_the_same_end(*, late: bool) -> None:
    """`late`: the server did it and the answer was lost."""
    cluster = Cluster(asking(), node())
    fault = cluster.client.faults.drop_answer if late else cluster.client.faults.fail
    fault(ServiceUnavailableError.of("away"), verb="apply", kind=DaemonSet)
    with pytest.raises(ServiceUnavailableError):
        cluster.reconcile_group()
    cluster.reconcile_group()
    assert container(cluster)["image"] == "agent:1"


def test_a_group_that_is_being_deleted_gets_none() -> None:
    made = asking()
    made.metadata.finalizers = ["somebody/waits"]
    cluster = Cluster(made, node())
    cluster.client.delete(cluster.client.get(LocalModelNodeGroup, "gpu"))
    cluster.reconcile_group()
    assert daemon_set(cluster) is None


def test_a_group_with_a_long_name_gets_one_too_d43() -> None:
    document = asking().to_dict()
    document["metadata"]["name"] = name = "g" * 200
    cluster = Cluster(LocalModelNodeGroup.from_dict(document), node())
    cluster.reconcile_group(name)
    assert daemon_set(cluster, agent_daemon_set_name(name)) is not None


@pytest.mark.parametrize("late", [False, True])
def test_a_failed_delete_leads_to_the_same_end(*, late: bool) -> None:
    """`late`: the server did it and the answer was lost."""
    cluster = Cluster(asking(), node())
    cluster.reconcile_group()
    ask(cluster)
    fault = cluster.client.faults.drop_answer if late else cluster.client.faults.fail
    fault(ServiceUnavailableError.of("away"), verb="delete", kind=DaemonSet)
    with pytest.raises(ServiceUnavailableError):
        cluster.reconcile_group()
    cluster.reconcile_group()
    assert daemon_set(cluster) is None


def test_one_that_the_cache_does_not_show_yet_is_not_applied_again() -> None:
    cluster = Cluster(asking(), node())
    cluster.reconcile_group()
    cluster.groups.client = behind(cluster)
    cluster.reconcile_group()
    assert applies(cluster) == 1


def behind(cluster: Cluster) -> IndexedClient:
    """A client whose cache has no DaemonSet yet."""

    class Behind(IndexedClient):
        def get(self, kind: Any, name: str, *, namespace: str = "") -> Any:
            if kind is DaemonSet:
                raise NotFoundError.of("not in the cache yet")
            return super().get(kind, name, namespace=namespace)

    client = Behind(registry=cluster.client.registry)
    client.actions = cluster.client.actions
    add_indexes(client)  # type: ignore[arg-type]
    return client
