"""Scripts of objects, each ending in what the controllers made of them. See `stage`.

The real kube-controller-manager's answers are recorded in `controller_scripts.json`; the sandbox's must be the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from localmodel.runtime.objects import ConfigMap, OwnerReference, Pod
from localmodel.sandbox.controllers import daemonpods

from .stage import Stage

Json = dict[str, Any]
Script = Callable[[Stage], Any]

CONTAINER = {"name": "c", "image": "busybox"}
GI = {"requests": {"storage": "1Gi"}}


def template(**spec: Any) -> Json:
    return {"spec": {"restartPolicy": "Never", "containers": [CONTAINER], **spec}}


def job(stage: Stage, **spec: Any) -> None:
    stage.create("Job", "job", spec={"template": template(), **spec})


def job_state(stage: Stage) -> Json:
    return {
        "status": stage.counts("Job", "job"),
        "conditions": stage.conditions("Job", "job"),
        "events": stage.events("job"),
        "pods": sorted(str(pod.status.phase) for pod in stage.pods()),
    }


def has(stage: Stage, condition: str) -> Callable[[], bool]:
    return lambda: any(c["type"] == condition and c["status"] == "True" for c in stage.conditions("Job", "job"))


# jobs


def job_running(stage: Stage) -> Any:
    job(stage)
    pod = stage.one_pod()
    stage.run(pod)
    stage.until(lambda: stage.get("Job", "job").status.ready == 1)
    spec = pod.spec.to_dict()
    return {
        **job_state(stage),
        "labels": sorted(pod.metadata.labels),
        "owners": [(o.kind, o.controller, o.block_owner_deletion) for o in pod.metadata.owner_references],
        "generate_name": pod.metadata.generate_name,
        "restart_policy": spec["restartPolicy"],
    }


def job_complete(stage: Stage) -> Any:
    job(stage)
    stage.end(stage.one_pod(), 0)
    stage.until(has(stage, "Complete"))
    return job_state(stage)


def job_fails_at_once(stage: Stage) -> Any:
    job(stage, backoffLimit=0)
    stage.end(stage.one_pod(), 3)
    stage.until(has(stage, "Failed"))
    return job_state(stage)


def job_deadline(stage: Stage) -> Any:
    job(stage, activeDeadlineSeconds=1)
    stage.one_pod()
    stage.until(has(stage, "Failed"))
    stage.until(lambda: not stage.pods(deleting=True))
    return job_state(stage)


def job_suspended(stage: Stage) -> Any:
    job(stage, suspend=True)
    stage.until(has(stage, "Suspended"))
    suspended = job_state(stage)
    stage.patch("Job", "job", {"spec": {"suspend": False}})
    stage.one_pod()
    stage.until(lambda: stage.get("Job", "job").status.active == 1)
    resumed = job_state(stage)
    stage.patch("Job", "job", {"spec": {"suspend": True}})
    stage.until(lambda: not stage.pods(deleting=True))
    stage.until(has(stage, "Suspended"))
    return {"suspended": suspended, "resumed": resumed, "again": stage.settled(lambda: job_state(stage))}


def job_pod_vanishes(stage: Stage) -> Any:
    job(stage, backoffLimit=0)
    stage.client.delete(stage.one_pod(), grace_period_seconds=0)
    stage.until(has(stage, "Failed"))
    return job_state(stage)


def job_ttl(stage: Stage) -> Any:
    job(stage, ttlSecondsAfterFinished=0)
    stage.end(stage.one_pod(), 0)
    stage.until(lambda: stage.find("Job", "job") is None)
    stage.until(lambda: not stage.pods(deleting=True))
    return "gone"


def _rule(action: str, **match: Any) -> Json:
    return {"rules": [{"action": action, **match}]}


def _codes(operator: str, *values: int) -> Json:
    return {"onExitCodes": {"operator": operator, "values": [*values]}}


DISRUPTED = {"type": "DisruptionTarget", "status": "True", "reason": "Test", "message": "out"}
DISRUPTION = {"onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}


def policy_fail_job(stage: Stage) -> Any:
    job(stage, podFailurePolicy=_rule("FailJob", **_codes("In", 1, 42)))
    stage.end(stage.one_pod(), 42)
    stage.until(has(stage, "Failed"))
    return job_state(stage)


def policy_fail_job_of_container(stage: Stage) -> Any:
    codes = {"onExitCodes": {"containerName": "c", "operator": "NotIn", "values": [1]}}
    job(stage, podFailurePolicy=_rule("FailJob", **codes))
    stage.end(stage.one_pod(), 42)
    stage.until(has(stage, "Failed"))
    return job_state(stage)


def policy_ignore_disruption(stage: Stage) -> Any:
    job(stage, backoffLimit=0, podFailurePolicy=_rule("Ignore", **DISRUPTION))
    stage.end(stage.one_pod(), 137, conditions=[DISRUPTED])
    stage.one_pod()
    stage.until(lambda: stage.get("Job", "job").status.active == 1)
    return stage.settled(lambda: job_state(stage))


def policy_count(stage: Stage) -> Any:
    job(stage, backoffLimit=0, podFailurePolicy=_rule("Count", **_codes("In", 5)))
    stage.end(stage.one_pod(), 5)
    stage.until(has(stage, "Failed"))
    return job_state(stage)


def policy_without_match(stage: Stage) -> Any:
    job(stage, backoffLimit=0, podFailurePolicy=_rule("FailJob", **_codes("In", 5)))
    stage.end(stage.one_pod(), 6)
    stage.until(has(stage, "Failed"))
    return job_state(stage)


def job_parallel(stage: Stage) -> Any:
    job(stage, completions=3, parallelism=2)
    stage.until(lambda: len(stage.pods()) == 2)
    stage.until(lambda: stage.get("Job", "job").status.active == 2)
    running = job_state(stage)
    for _ in range(3):
        stage.end(stage.until(lambda: [p for p in stage.pods() if not p.is_finished])[0], 0)
        stage.settled(lambda: [p.status.phase for p in stage.pods()], 0.5)
    stage.until(has(stage, "Complete"))
    return {"running": running, "end": job_state(stage)}


# daemon sets


def _node(stage: Stage, name: str, ready: str = "True", **spec: Any) -> str:
    name = stage.unique(name)
    condition = {
        "type": "Ready",
        "status": ready,
        "reason": "x",
        "message": "x",
        "lastHeartbeatTime": "2199-01-01T00:00:00Z",
    }
    # With its status at once, as a kubelet does: the controllers take the taint of a node without conditions away, and
    # a daemon set would place a pod there before the condition came.
    status = {"conditions": [condition]}
    stage.create("Node", name, metadata={"labels": {"stage": stage.namespace}}, spec=spec, status=status)
    # An API server taints new nodes; the controllers are to take that away.
    stage.until(lambda: ready != "True" or not _own_taints(stage, name, "not-ready"))
    return name


def _own_taints(stage: Stage, node: str, kind: str) -> list[Json]:
    taints = stage.get("Node", node).spec.get("taints") or []
    return [taint for taint in taints if taint["key"].endswith(kind)]


def daemon_set(stage: Stage, pod: Json | None = None, **spec: Any) -> None:
    labels = {"app": "d"}
    body = {"containers": [CONTAINER], "nodeSelector": {"stage": stage.namespace}, **(pod or {})}
    stage.create(
        "DaemonSet",
        "d",
        spec={"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": body}, **spec},
    )


def on_nodes(stage: Stage) -> list[str]:
    return sorted(daemonpods.target_node(pod).removeprefix(f"{stage.namespace}-") for pod in stage.pods())


def bind_and_run(stage: Stage) -> None:
    for pod in stage.pods():
        if not pod.spec.node_name:
            stage.bind(pod, daemonpods.target_node(pod))
            stage.run(stage.get(Pod, pod.name))


def remove_ended(stage: Stage) -> None:
    for pod in stage.pods(deleting=True):
        if pod.is_deleting:
            stage.client.delete(pod, grace_period_seconds=0)


def daemon_set_runs(stage: Stage) -> Any:
    for name, spec in (
        ("plain", {}),
        ("tainted", {"taints": [{"key": "k", "effect": "NoSchedule"}]}),
        ("preferred", {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}),
        ("unschedulable", {"unschedulable": True}),
    ):
        _node(stage, name, **spec)
    _node(stage, "unready", ready="False")
    daemon_set(stage)
    stage.until(lambda: len(stage.pods()) >= 3)
    nodes = stage.settled(lambda: on_nodes(stage))
    bind_and_run(stage)
    stage.until(lambda: stage.get("DaemonSet", "d").status.get("numberReady") == len(nodes))
    pod = stage.pods()[0]
    spec = pod.spec.to_dict()
    return {
        "nodes": nodes,
        "status": stage.settled(lambda: stage.counts("DaemonSet", "d")),
        "events": stage.events("d"),
        "labels": sorted(set(pod.metadata.labels) - {"pod-template-generation"}),  # of an annotation of the API server
        "owners": [(o.kind, o.controller, o.block_owner_deletion) for o in pod.metadata.owner_references],
        "tolerations": sorted((t["key"], t.get("operator", ""), t.get("effect", "")) for t in spec["tolerations"]),
        "affinity": [
            sorted(term)
            for term in spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
                "nodeSelectorTerms"
            ]
        ],
    }


def daemon_set_updates(stage: Stage) -> Any:
    for name in ("a", "b", "c"):
        _node(stage, name)
    daemon_set(stage)
    stage.until(lambda: len(stage.pods()) == 3)
    bind_and_run(stage)
    stage.until(lambda: stage.get("DaemonSet", "d").status.get("numberAvailable") == 3)
    stage.patch("DaemonSet", "d", {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 7}}}})
    steps = []
    for _ in range(3):
        stage.until(lambda: [pod for pod in stage.pods(deleting=True) if pod.is_deleting])
        steps.append(stage.settled(lambda: len(stage.pods()), 0.7))
        remove_ended(stage)
        stage.until(lambda: len(stage.pods()) == 3)
        bind_and_run(stage)
    stage.until(lambda: stage.get("DaemonSet", "d").status.get("updatedNumberScheduled") == 3)
    stage.until(lambda: stage.get("DaemonSet", "d").status.get("numberAvailable") == 3)
    return {"left": steps, "status": stage.counts("DaemonSet", "d"), "events": stage.events("d")}


def daemon_set_on_delete(stage: Stage) -> Any:
    _node(stage, "a")
    daemon_set(stage, updateStrategy={"type": "OnDelete"})
    stage.until(lambda: len(stage.pods()) == 1)
    bind_and_run(stage)
    stage.until(lambda: stage.get("DaemonSet", "d").status.get("numberAvailable") == 1)
    stage.patch("DaemonSet", "d", {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 7}}}})
    stage.until(lambda: stage.get("DaemonSet", "d").status.get("observedGeneration") == 2)
    return stage.settled(lambda: stage.counts("DaemonSet", "d"))


def daemon_set_failed_pod(stage: Stage) -> Any:
    _node(stage, "a")
    daemon_set(stage)
    stage.until(lambda: len(stage.pods()) == 1)
    bind_and_run(stage)
    before = stage.pods()[0]
    stage.end(before, 1)
    stage.until(lambda: [p for p in stage.pods() if p.metadata.uid != before.metadata.uid])
    return {"events": stage.events("d"), "nodes": on_nodes(stage)}


def daemon_set_node_changes(stage: Stage) -> Any:
    a = _node(stage, "a")
    daemon_set(stage)
    stage.until(lambda: len(stage.pods()) == 1)
    bind_and_run(stage)
    stage.patch("Node", a, {"metadata": {"labels": {"stage": None}}})
    stage.until(lambda: not stage.pods())
    remove_ended(stage)
    return {"events": stage.events("d"), "status": stage.settled(lambda: stage.counts("DaemonSet", "d"))}


def daemon_set_orphaned(stage: Stage) -> Any:
    _node(stage, "a")
    daemon_set(stage)
    stage.until(lambda: len(stage.pods()) == 1)
    stage.delete("DaemonSet", "d", propagation="Orphan")
    stage.until(lambda: stage.find("DaemonSet", "d") is None)
    left = [(len(pod.metadata.owner_references), pod.is_deleting) for pod in stage.pods(deleting=True)]
    daemon_set(stage)
    stage.until(lambda: stage.pods()[0].metadata.owner_references)
    return {"left": left, "adopted": stage.settled(lambda: on_nodes(stage))}


# volumes


def volume(stage: Stage, name: str, **spec: Any) -> str:
    name = stage.unique(name)
    body = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": stage.namespace,
        "persistentVolumeReclaimPolicy": "Retain",
        "hostPath": {"path": "/x"},
        **spec,
    }
    stage.create("PersistentVolume", name, spec=body)
    stage.until(lambda: phase(stage, "PersistentVolume", name) == "Available")  # and known to the binder
    return name


def claim(stage: Stage, name: str = "claim", **spec: Any) -> None:
    body = {"accessModes": ["ReadWriteOnce"], "storageClassName": stage.namespace, "resources": GI, **spec}
    stage.create("PersistentVolumeClaim", name, spec=body)


def storage_class(stage: Stage, mode: str) -> None:
    stage.create("StorageClass", stage.namespace, provisioner="kubernetes.io/no-provisioner", volumeBindingMode=mode)


def phase(stage: Stage, kind: str, name: str) -> str:
    return str(stage.get(kind, name).status.phase)


def bound(stage: Stage, name: str = "claim") -> str:
    return str(
        stage.until(
            lambda: (
                stage.get("PersistentVolumeClaim", name).status.phase == "Bound"
                and stage.get("PersistentVolumeClaim", name).spec.volume_name
            )
        )
    )


def claim_state(stage: Stage, name: str = "claim") -> Json:
    found = stage.get("PersistentVolumeClaim", name)
    return {
        "status": stage.counts("PersistentVolumeClaim", name),
        "volume": stage.normal(found.spec.volume_name),
        "annotations": sorted(found.metadata.annotations),
        "finalizers": found.metadata.finalizers,
        "events": stage.events(name),
    }


def volume_state(stage: Stage, name: str) -> Json:
    found = stage.get("PersistentVolume", name)
    reference = found.spec.claim_ref
    return {
        "status": {k: v for k, v in stage.counts("PersistentVolume", name).items() if v},
        "claim": [reference.name, bool(reference.uid)] if reference else None,
        "annotations": sorted(found.metadata.annotations),
        "finalizers": found.metadata.finalizers,
    }


def pv_smallest_that_fits(stage: Stage) -> Any:
    storage_class(stage, "Immediate")
    for size in ("5Gi", "500Mi", "2Gi"):
        volume(stage, size.lower(), capacity={"storage": size})
    claim(stage)
    name = bound(stage)
    return {"claim": claim_state(stage), "volume": stage.settled(lambda: volume_state(stage, name))}


def pv_named(stage: Stage) -> Any:
    storage_class(stage, "WaitForFirstConsumer")
    name = volume(stage, "v")
    claim(stage, volumeName=name)
    bound(stage)
    return {"claim": claim_state(stage), "volume": stage.settled(lambda: volume_state(stage, name))}


def pv_reserved_for_a_claim(stage: Stage) -> Any:
    storage_class(stage, "Immediate")
    mine = volume(stage, "v", claimRef={"namespace": stage.namespace, "name": "claim"})
    claim(stage, "other")
    before = stage.settled(lambda: phase(stage, "PersistentVolumeClaim", "other"))
    claim(stage)
    bound(stage)
    return {
        "other": before,
        "claim": claim_state(stage),
        "volume": stage.settled(lambda: volume_state(stage, mine)),
    }


def pv_released(stage: Stage) -> Any:
    """D-57: a new claim of the same name does not get the volume until the old claim's uid is cleared."""
    storage_class(stage, "Immediate")
    name = volume(stage, "v", claimRef={"namespace": stage.namespace, "name": "claim"})
    claim(stage)
    bound(stage)
    stage.delete("PersistentVolumeClaim", "claim")
    stage.until(lambda: phase(stage, "PersistentVolume", name) == "Released")
    released = stage.settled(lambda: volume_state(stage, name))
    claim(stage)
    again = stage.settled(
        lambda: (phase(stage, "PersistentVolumeClaim", "claim"), phase(stage, "PersistentVolume", name))
    )
    stage.patch("PersistentVolume", name, {"spec": {"claimRef": {"uid": None, "resourceVersion": None}}})
    bound(stage)
    return {"released": released, "again": again, "cleared": stage.settled(lambda: volume_state(stage, name))}


def pv_available_again(stage: Stage) -> Any:
    storage_class(stage, "Immediate")
    name = volume(stage, "v")
    claim(stage)
    bound(stage)
    stage.delete("PersistentVolumeClaim", "claim")
    stage.until(lambda: phase(stage, "PersistentVolume", name) == "Released")
    stage.patch("PersistentVolume", name, {"spec": {"claimRef": None}})
    stage.until(lambda: phase(stage, "PersistentVolume", name) == "Available")
    return stage.settled(lambda: volume_state(stage, name))


def pv_lost(stage: Stage) -> Any:
    storage_class(stage, "Immediate")
    name = volume(stage, "v")
    claim(stage)
    bound(stage)
    stage.delete("PersistentVolume", name)
    protected = stage.settled(
        lambda: [bool(stage.get("PersistentVolume", name).is_deleting), phase(stage, "PersistentVolume", name)]
    )
    stage.patch("PersistentVolume", name, {"metadata": {"finalizers": None}})
    stage.until(lambda: phase(stage, "PersistentVolumeClaim", "claim") == "Lost")
    return {"protected": protected, "lost": stage.settled(lambda: claim_state(stage))}


def pv_for_another_claim(stage: Stage) -> Any:
    storage_class(stage, "Immediate")
    name = volume(stage, "v", claimRef={"namespace": stage.namespace, "name": "somebody"})
    claim(stage, volumeName=name)
    return {
        "claim": stage.settled(lambda: claim_state(stage)),
        "volume": stage.settled(lambda: volume_state(stage, name)),
    }


def pv_that_does_not_fit(stage: Stage) -> Any:
    storage_class(stage, "Immediate")
    volume(stage, "small", capacity={"storage": "1Mi"})
    volume(stage, "mode", accessModes=["ReadOnlyMany"])
    volume(stage, "block", volumeMode="Block")
    volume(stage, "elsewhere", storageClassName="another")
    claim(stage)
    return stage.settled(lambda: claim_state(stage))


def pv_named_that_does_not_fit(stage: Stage) -> Any:
    storage_class(stage, "Immediate")
    name = volume(stage, "v", capacity={"storage": "1Mi"})
    claim(stage, volumeName=name)
    return stage.settled(lambda: claim_state(stage))


def pv_by_selector(stage: Stage) -> Any:
    storage_class(stage, "Immediate")
    plain, labelled = volume(stage, "plain"), volume(stage, "labelled")
    stage.patch("PersistentVolume", labelled, {"metadata": {"labels": {"tier": "fast"}}})
    claim(stage, selector={"matchLabels": {"tier": "fast"}})
    return {"bound": stage.normal(bound(stage)), "plain": phase(stage, "PersistentVolume", plain)}


def pvc_waits_for_consumer(stage: Stage) -> Any:
    storage_class(stage, "WaitForFirstConsumer")
    name = volume(stage, "v")
    claim(stage)
    return {
        "claim": stage.settled(lambda: claim_state(stage)),
        "volume": stage.settled(lambda: volume_state(stage, name)),
    }


def pvc_in_use(stage: Stage) -> Any:
    storage_class(stage, "Immediate")
    volume(stage, "v")
    claim(stage)
    bound(stage)
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "claim"}}]
    stage.create("Pod", "user", spec={"containers": [CONTAINER], "volumes": volumes, "nodeName": "nowhere"})
    stage.delete("PersistentVolumeClaim", "claim")
    held = stage.settled(lambda: stage.get("PersistentVolumeClaim", "claim").is_deleting)
    stage.client.delete(stage.get(Pod, "user"), grace_period_seconds=0)
    stage.until(lambda: stage.find("PersistentVolumeClaim", "claim") is None)
    return {"held": held}


def pv_delete_policy(stage: Stage) -> Any:
    storage_class(stage, "Immediate")
    name = volume(
        stage,
        "v",
        persistentVolumeReclaimPolicy="Delete",
        hostPath=None,
        local={"path": "/x"},
        nodeAffinity={
            "required": {
                "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}]
            }
        },
    )
    claim(stage)
    bound(stage)
    stage.delete("PersistentVolumeClaim", "claim")
    stage.until(lambda: phase(stage, "PersistentVolume", name) in ("Released", "Failed"))
    return {"volume": stage.settled(lambda: volume_state(stage, name)), "events": stage.events(name)}


# garbage


def owned(stage: Stage, name: str, *owners: Any, block: bool | None = None, version: str = "v1", **changes: Any) -> Any:
    references = [
        OwnerReference(
            api_version=version,
            kind=owner.kind,
            name=owner.name,
            uid=changes.get("uid", owner.metadata.uid),
            block_owner_deletion=block,
        ).to_dict()
        for owner in owners
    ]
    return stage.create("ConfigMap", name, metadata={"ownerReferences": references})


def names(stage: Stage) -> list[str]:
    found = stage.client.list(ConfigMap, namespace=stage.namespace)
    return sorted(
        f"{o.name}{'-' if o.is_deleting else ''}{len(o.metadata.owner_references)}"
        for o in found
        if o.name != "kube-root-ca.crt"
    )


def gc_background(stage: Stage) -> Any:
    owner = stage.create("ConfigMap", "owner")
    child = owned(stage, "child", owner)
    owned(stage, "grandchild", child)
    stage.delete("ConfigMap", "owner")
    stage.until(lambda: not names(stage))
    return names(stage)


def gc_foreground(stage: Stage) -> Any:
    owner = stage.create("ConfigMap", "owner")
    owned(stage, "child", owner, block=True)
    stage.patch("ConfigMap", "child", {"metadata": {"finalizers": ["test.example/hold"]}})
    stage.settled(lambda: names(stage))
    stage.delete("ConfigMap", "owner", propagation="Foreground")
    held = stage.settled(lambda: names(stage))
    stage.patch("ConfigMap", "child", {"metadata": {"finalizers": None}})
    stage.until(lambda: not names(stage))
    return held


def gc_foreground_without_block(stage: Stage) -> Any:
    owner = stage.create("ConfigMap", "owner")
    owned(stage, "child", owner)
    stage.patch("ConfigMap", "child", {"metadata": {"finalizers": ["test.example/hold"]}})
    stage.settled(lambda: names(stage))
    stage.delete("ConfigMap", "owner", propagation="Foreground")
    stage.until(lambda: stage.find("ConfigMap", "owner") is None)
    left = stage.settled(lambda: names(stage))
    stage.patch("ConfigMap", "child", {"metadata": {"finalizers": None}})
    return left


def gc_orphan(stage: Stage) -> Any:
    owner = stage.create("ConfigMap", "owner")
    owned(stage, "child", owner)
    stage.settled(lambda: names(stage))
    stage.delete("ConfigMap", "owner", propagation="Orphan")
    stage.until(lambda: stage.find("ConfigMap", "owner") is None)
    return stage.settled(lambda: names(stage))


def gc_absent_owner(stage: Stage) -> Any:
    owner = stage.create("ConfigMap", "owner")
    stage.delete("ConfigMap", "owner")
    owned(stage, "child", owner)
    return stage.settled(lambda: names(stage))


def gc_wrong_uid(stage: Stage) -> Any:
    owner = stage.create("ConfigMap", "owner")
    owned(stage, "child", owner, uid="11111111-1111-1111-1111-111111111111")
    return stage.settled(lambda: names(stage))


def gc_two_owners(stage: Stage) -> Any:
    one, two = stage.create("ConfigMap", "one"), stage.create("ConfigMap", "two")
    owned(stage, "child", one, two)
    stage.settled(lambda: names(stage))
    stage.delete("ConfigMap", "one")
    return stage.settled(lambda: names(stage))


def gc_owner_of_a_version_that_is_not_served(stage: Stage) -> Any:
    owner = stage.create("ConfigMap", "owner")
    owned(stage, "child", owner, version="v7")
    stage.delete("ConfigMap", "owner")
    return stage.settled(lambda: names(stage))


def gc_owner_of_another_namespace(stage: Stage) -> Any:
    other = Stage(stage.client, "other")
    try:
        owner = other.create("ConfigMap", "owner")
        owned(stage, "child", owner)
        events = stage.until(lambda: stage.events("child"))
        return {"left": stage.settled(lambda: names(stage)), "events": events}
    finally:
        other.close()


def gc_cluster_object_with_namespaced_owner(stage: Stage) -> Any:
    owner = stage.create("ConfigMap", "owner")
    reference = OwnerReference(api_version="v1", kind="ConfigMap", name="owner", uid=owner.metadata.uid).to_dict()
    name = stage.unique("v")
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}
    stage.create("PersistentVolume", name, metadata={"ownerReferences": [reference]}, spec=spec)
    events = stage.until(lambda: stage.events(name))
    return {"left": stage.settled(lambda: stage.find("PersistentVolume", name) is not None), "events": events}


# namespaces


def namespace_ends(stage: Stage) -> Any:
    inner = Stage(stage.client, "inner")
    inner.create("ConfigMap", "plain")
    inner.create("ConfigMap", "held", metadata={"finalizers": ["test.example/hold"]})
    stage.client.delete(stage.get("Namespace", inner.namespace))
    stage.until(
        lambda: [
            c
            for c in inner.conditions("Namespace", inner.namespace)
            if c["type"] == "NamespaceFinalizersRemaining" and c["status"] == "True"
        ]
    )
    held = stage.settled(lambda: sorted(inner.conditions("Namespace", inner.namespace), key=lambda c: str(c["type"])))
    phase_ = phase(stage, "Namespace", inner.namespace)
    inner.patch("ConfigMap", "held", {"metadata": {"finalizers": None}})
    stage.until(lambda: stage.find("Namespace", inner.namespace) is None)
    return {"held": held, "phase": phase_}


# nodes


def node_not_ready(stage: Stage) -> Any:
    # Beside one that is well: where all are not, kube-controller-manager suspects itself.
    name, _ = _node(stage, "a"), _node(stage, "b")
    stage.create("Pod", "p", spec={"containers": [CONTAINER], "nodeName": name})
    stage.run(stage.get(Pod, "p"))
    # kube-controller-manager looks every five seconds, and must have seen the node well.
    stage.settled(lambda: stage.get(Pod, "p").is_ready, 1.0)
    condition = {
        "type": "Ready",
        "status": "False",
        "reason": "x",
        "message": "x",
        "lastHeartbeatTime": "2199-01-01T00:00:00Z",
    }
    stage.patch_status("Node", name, {"conditions": [condition]})
    stage.until(lambda: len(_own_taints(stage, name, "not-ready")) == 2)
    result = {
        "taints": sorted((t["key"], t["effect"]) for t in stage.get("Node", name).spec["taints"]),
        "pod": stage.settled(lambda: stage.conditions("Pod", "p")),
    }
    condition["status"] = "True"
    stage.patch_status("Node", name, {"conditions": [condition]})
    stage.until(lambda: not _own_taints(stage, name, "not-ready"))
    return result


def taint_evicts(stage: Stage) -> Any:
    name = _node(stage, "a")
    tolerations = [{"key": "k", "operator": "Exists", "effect": "NoExecute"}]
    stage.create("Pod", "stays", spec={"containers": [CONTAINER], "nodeName": name, "tolerations": tolerations})
    stage.create("Pod", "goes", spec={"containers": [CONTAINER], "nodeName": name})
    for pod in ("stays", "goes"):
        stage.run(stage.get(Pod, pod))
    stage.patch("Node", name, {"spec": {"taints": [{"key": "k", "value": "v", "effect": "NoExecute"}]}})
    stage.until(lambda: stage.get(Pod, "goes").is_deleting)
    result = {
        "stays": stage.settled(lambda: stage.get(Pod, "stays").is_deleting),
        "events": stage.events("goes"),
        "conditions": [c for c in stage.conditions("Pod", "goes") if c["type"] == "DisruptionTarget"],
    }
    remove_ended(stage)
    return result


SCRIPTS: dict[str, Script] = {
    function.__name__: function
    for function in (
        job_running, job_complete, job_fails_at_once, job_deadline, job_suspended, job_pod_vanishes, job_ttl,
        policy_fail_job, policy_fail_job_of_container, policy_ignore_disruption, policy_count, policy_without_match,
        job_parallel, daemon_set_runs, daemon_set_updates, daemon_set_on_delete, daemon_set_failed_pod,
        daemon_set_node_changes, daemon_set_orphaned, pv_smallest_that_fits, pv_named, pv_reserved_for_a_claim,
        pv_released, pv_available_again, pv_lost, pv_for_another_claim, pv_that_does_not_fit,
        pv_named_that_does_not_fit, pv_by_selector, pvc_waits_for_consumer, pvc_in_use, pv_delete_policy,
        gc_background, gc_foreground, gc_foreground_without_block, gc_orphan, gc_absent_owner, gc_wrong_uid,
        gc_two_owners, gc_owner_of_a_version_that_is_not_served, gc_owner_of_another_namespace,
        gc_cluster_object_with_namespaced_owner, namespace_ends, node_not_ready, taint_evicts,
    )
}  # fmt: skip
