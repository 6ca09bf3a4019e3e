"""Owner references: what a cluster that enforces them (OwnerReferencesPermissionEnforcement) asks of the roles."""

from __future__ import annotations

from support.manager import Cluster, agent_pod, cache, config_map, group, namespace_cache, node, service
from support.rights import MANAGER, shipped_rights

from localmodel.api import LocalModelCache, LocalModelNamespaceCache, LocalModelNode, LocalModelNodeGroup
from localmodel.runtime.objects import DaemonSet, Node, Object, PersistentVolume, PersistentVolumeClaim

OWNERS: tuple[type[Object], ...] = (LocalModelCache, LocalModelNamespaceCache, LocalModelNodeGroup, Node)
OWNED: tuple[type[Object], ...] = (LocalModelNode, PersistentVolume, PersistentVolumeClaim, DaemonSet)


def test_the_finalizers_of_every_owner_whose_deletion_is_blocked_may_be_updated_d87() -> None:
    cluster = Cluster(
        node(), agent_pod(), group(agent={"image": "agent"}), cache(), namespace_cache("rose"), config_map("{}"),
        service("s", "team-a"), service("t", "team-a", "rose", of="team-a"),
    )  # fmt: skip
    cluster.reconcile_node()
    cluster.reconcile_cache()
    cluster.reconcile_cache("rose", "team-a")
    cluster.reconcile_group()

    made = [obj for kind in OWNED for obj in cluster.client.list(kind)]
    assert {type(obj) for obj in made} == set(OWNED)
    references = [reference for obj in made for reference in obj.metadata.owner_references]
    plurals = {kind.mapping.gvk.kind: kind.mapping.plural for kind in OWNERS}
    blocking = {plurals[reference.kind] for reference in references if reference.block_owner_deletion}
    assert blocking == {"localmodelcaches", "localmodelnamespacecaches"}
    granted = {r.resource for r in shipped_rights() if r.user == MANAGER and r.verb == "update" and not r.names}
    assert {f"{plural}/finalizers" for plural in blocking} <= granted
