"""The group of a service that names none: the one that its own node selector and affinity admit (D-80)."""

from __future__ import annotations

from typing import Any

import pytest
from support.manager import JOBS, Cluster, cache, group, node, service

from localmodel.manager.indexes import InferenceService, LLMInferenceService
from localmodel.manager.scheduling import Constraints, ServiceConstraints, constraints_of
from localmodel.runtime.conditions import find_status_condition
from localmodel.runtime.objects import PersistentVolumeClaim, Unstructured
from localmodel.runtime.testing import FakeClient

LABEL = "internal.serving.kserve.io/localmodel"
HAS_IT: dict[str, Any] = {"key": "localmodel.kserve.io/0123456789abcdef", "operator": "In", "values": ["ready"]}
MOUNTED = "internal.serving.kserve.io/localmodel-pvc-name"


def cluster() -> Cluster:
    """Two groups, gpu and big, with a node each."""
    return Cluster(group(), group("big"), node(), node("node-2", pool="big"), cache("iris", "gpu", "big"))


def serve(it: Cluster, kind: Any = InferenceService, *, mounted: str = "", **spec: Any) -> None:
    """A service of namespace team-a, as the API server has it."""
    metadata = {"name": "s", "namespace": "team-a", "labels": {LABEL: "iris"}}
    if mounted:
        metadata["annotations"] = {MOUNTED: mounted}
    it.client.create(Unstructured.of(kind.mapping).from_dict({"metadata": metadata, "spec": spec}))


def claims(it: Cluster) -> list[str]:
    """The serving claims, after a run."""
    it.clock.advance(1)
    it.reconcile_cache()
    return [c.name for c in it.client.list(PersistentVolumeClaim) if c.namespace != JOBS]


def required_terms(*terms: Any) -> dict[str, Any]:
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}}


def required(pool: str) -> dict[str, Any]:
    return required_terms({"matchExpressions": [{"key": "pool", "operator": "In", "values": [pool]}]})


@pytest.mark.parametrize("pod", [{"nodeSelector": {"pool": "big"}}, {"affinity": required("big")}])
@pytest.mark.parametrize(("kind", "field"), [(InferenceService, "predictor"), (LLMInferenceService, "template")])
def test_a_service_that_names_no_group_gets_the_one_that_its_selector_admits_d80(
    kind: Any, field: str, pod: dict[str, Any]
) -> None:
    it = cluster()
    serve(it, kind, **{field: pod})
    assert claims(it) == ["iris-big"]


def test_a_service_that_asks_for_nodes_with_the_model_gets_the_group_that_will_have_it() -> None:
    """As docs/scheduling.md says to; the label comes after the group is chosen, and goes with an eviction."""
    on_big = {"key": "pool", "operator": "In", "values": ["big"]}
    it = cluster()
    serve(it, predictor={"affinity": required_terms({"matchExpressions": [HAS_IT, on_big]})})
    assert claims(it) == ["iris-big"]


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        ({"nodeSelector": {HAS_IT["key"]: "ready"}}, Constraints()),
        ({"affinity": required_terms({"matchExpressions": [HAS_IT]}, {"matchExpressions": []})}, Constraints()),
        (
            {"affinity": required_terms({"matchExpressions": [HAS_IT], "matchFields": ["f"]}, "odd")},
            Constraints(required={"nodeSelectorTerms": [{"matchExpressions": [], "matchFields": ["f"]}, "odd"]}),
        ),
        (
            {"affinity": required_terms({"matchExpressions": 7})},
            Constraints(required={"nodeSelectorTerms": [{"matchExpressions": 7}]}),
        ),
    ],
)
def test_the_labels_of_nodes_that_have_a_model_constrain_nothing(pod: Any, expected: Constraints) -> None:
    assert constraints_of({"spec": {"predictor": pod}}, "InferenceService") == expected


@pytest.mark.parametrize(
    "predictor", [{}, {"nodeSelector": {"pool": "nowhere"}}, {"affinity": {"nodeAffinity": "odd"}}, "odd"]
)
def test_without_a_selector_that_decides_it_gets_the_first(predictor: Any) -> None:
    it = cluster()
    serve(it, predictor=predictor)
    assert claims(it) == ["iris-gpu"]


def test_the_claim_that_kserves_defaulting_has_its_pods_mount_is_there_as_well() -> None:
    it = cluster()
    serve(it, mounted="iris-gpu", predictor={"nodeSelector": {"pool": "big"}})
    assert sorted(claims(it)) == ["iris-big", "iris-gpu"]


def test_the_claim_that_the_pods_mount_goes_before_the_first_group() -> None:
    it = cluster()
    serve(it, mounted="iris-big")
    assert claims(it) == ["iris-big"]


def test_a_service_that_names_a_group_which_the_cache_does_not_have_gets_no_claim_and_is_told_of() -> None:
    it = cluster()
    it.client.create(service("s", "team-a", node_group="old"))
    assert claims(it) == []
    degraded = find_status_condition(it.cache().status.conditions, "Degraded")
    assert degraded is not None
    assert (degraded.status, degraded.reason) == ("True", "NodeGroupNotOfCache")
    assert "no claim is made for service team-a/s (old), whose annotation" in degraded.message

    it.client.delete(it.client.get(InferenceService, "s", namespace="team-a"))
    it.client.create(service("s", "team-a", node_group="big"))
    assert claims(it) == ["iris-big"]
    degraded = find_status_condition(it.cache().status.conditions, "Degraded")
    assert degraded is not None
    assert degraded.status == "False"


def test_each_generation_of_a_service_is_read_once() -> None:
    it = cluster()
    serve(it, predictor={"nodeSelector": {"pool": "big"}})
    known, (found,) = ServiceConstraints(), it.client.list(InferenceService)
    assert known.of(it.client, found) == Constraints(node_selector={"pool": "big"})
    gone = FakeClient()
    assert known.of(gone, found) == Constraints(node_selector={"pool": "big"})
    found.metadata.generation = 7
    assert known.of(gone, found) == Constraints()


def test_labels_must_all_be_there() -> None:
    constraints = Constraints(node_selector={"pool": "gpu", "zone": "a"})
    assert not constraints.admit(node())
    assert Constraints(node_selector={"pool": "gpu"}).admit(node())


def test_an_affinity_that_cannot_be_read_admits_no_node() -> None:
    terms = [{"matchExpressions": [{"key": "pool", "operator": "Near"}]}]
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    assert not constraints_of({"spec": {"predictor": {"affinity": affinity}}}, "InferenceService").admit(node())
