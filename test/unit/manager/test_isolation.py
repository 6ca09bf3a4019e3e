"""`storageIsolation`: who may see a model that two caches name with different credentials."""

from __future__ import annotations

from typing import Any

import pytest
from support.manager import Cluster, cache, config_map, group, namespace_cache, node, service

from localmodel.api import LocalModelNamespaceCache
from localmodel.api.config import ConfigError, LocalModelConfig
from localmodel.api.names import model_pvc_name, storage_key
from localmodel.manager.isolation import PROVED_ANNOTATION
from localmodel.runtime.conditions import find_status_condition
from localmodel.runtime.objects import ConfigMap, PersistentVolume, PersistentVolumeClaim

URI = "hf://o/m"
ISOLATED = config_map('{"servingVolumeScope": "model", "storageIsolation": "namespace"}')


def claims(cluster: Cluster, namespace: str = "team-a") -> list[str]:
    return [claim.name for claim in cluster.client.list(PersistentVolumeClaim, namespace=namespace)]


def settle(cluster: Cluster, namespace: str = "team-a") -> Any:
    cluster.clock.advance(60.0)
    cluster.reconcile_node()
    return cluster.reconcile_cache(namespace=namespace)


def rival(**spec: Any) -> LocalModelNamespaceCache:
    return namespace_cache(namespace="team-b", **{"serviceAccountName": "other", **spec})


def two(*more: Any, **spec: Any) -> Cluster:
    """Caches of two namespaces that name one URI, each with a service."""
    return Cluster(
        group(), node(), namespace_cache(), rival(**spec), service("s", "team-a", of="team-a"),
        service("t", "team-b", of="team-b"), *more,
    )  # fmt: skip


def reason(cluster: Cluster, namespace: str = "team-a") -> str:
    found = find_status_condition(cluster.namespace_cache(namespace=namespace).status.conditions, "Degraded")
    return found.reason if found is not None and found.status == "True" else ""


def test_a_cache_with_a_rival_has_no_serving_volume_before_its_credentials_are_proved_d16() -> None:
    cluster = two()
    settle(cluster)
    assert claims(cluster) == []
    assert claims(cluster, "kserve-localmodel-jobs") == ["iris-gpu-team-a-download"]
    assert reason(cluster) == "CredentialsNotProved"


def test_it_gets_one_once_a_node_has_the_model_for_it() -> None:
    cluster = two()
    settle(cluster)
    cluster.report(team_a__iris="ModelDownloaded")
    settle(cluster)
    assert claims(cluster) == ["iris-gpu"]
    assert reason(cluster) == ""


def test_what_a_node_has_for_the_one_proves_nothing_of_the_other() -> None:
    cluster = two()
    settle(cluster)
    cluster.report(team_b__iris="ModelDownloaded")
    settle(cluster)
    assert claims(cluster) == []


def test_the_same_credentials_are_no_rivals() -> None:
    cluster = two(serviceAccountName="")
    settle(cluster)
    assert claims(cluster) == ["iris-gpu"]


def test_the_same_names_in_two_namespaces_are_rivals_where_each_has_its_own() -> None:
    config = config_map('{"credentialNamespace": "own"}')
    cluster = Cluster(group(), node(), namespace_cache(serviceAccountName="sa"), rival(serviceAccountName="sa"),
                      service("s", "team-a", of="team-a"), config)  # fmt: skip
    settle(cluster)
    assert claims(cluster) == []


def test_a_proof_outlives_the_report_and_not_a_change_of_the_credentials() -> None:
    cluster = two()
    settle(cluster)
    cluster.report(team_a__iris="ModelDownloaded")
    settle(cluster)
    cluster.report()
    settle(cluster)
    assert claims(cluster) == ["iris-gpu"]

    changed = cluster.namespace_cache()
    changed.spec.service_account_name = "stolen"
    cluster.client.update(changed)
    settle(cluster)
    assert claims(cluster) == []


def test_a_rival_that_comes_later_takes_volumes_that_nobody_proved_d16() -> None:
    cluster = Cluster(group(), node(), namespace_cache(), service("s", "team-a", of="team-a"))
    settle(cluster)
    assert claims(cluster) == ["iris-gpu"]
    cluster.client.create(rival())
    settle(cluster)
    assert claims(cluster) == []


def test_a_rival_that_comes_later_takes_nothing_from_a_cache_that_a_node_has() -> None:
    cluster = Cluster(group(), node(), namespace_cache(), service("s", "team-a", of="team-a"))
    settle(cluster)
    cluster.report(team_a__iris="ModelDownloaded")
    cluster.client.create(rival())
    settle(cluster)
    assert claims(cluster) == ["iris-gpu"]
    proved = [volume.metadata.annotations.get(PROVED_ANNOTATION) for volume in cluster.client.list(PersistentVolume)]
    assert all(proved)


def test_a_change_of_a_cache_concerns_those_of_its_uri() -> None:
    cluster = two(cache("other", sourceModelUri="hf://o/other"))
    assert [str(key) for key in cluster.namespace_caches._of_same_uri(rival())] == ["team-a/iris"]
    assert list(cluster.caches._of_same_uri(rival())) == []


def test_without_isolation_every_cache_has_its_volumes() -> None:
    cluster = two(config_map('{"storageIsolation": "shared"}'))
    settle(cluster)
    assert claims(cluster) == ["iris-gpu"]


# namespace -----------------------------------------------------------------------------------------------------------


def test_a_namespace_has_a_folder_of_its_own() -> None:
    cluster = two(ISOLATED)
    settle(cluster)
    single = model_pvc_name("iris", "gpu", URI, "team-a", isolated=True)
    assert claims(cluster) == sorted(["iris-gpu", single])
    found = cluster.client.get(PersistentVolumeClaim, single, namespace="team-a")
    volume = cluster.client.get(PersistentVolume, found.spec.volume_name)
    assert volume.spec.local == {"path": f"/mnt/models/models/{storage_key(URI, 'team-a')}"}
    assert storage_key(URI, "team-a") != storage_key(URI)


def test_a_local_model_cache_keeps_the_folder_of_its_uri() -> None:
    cluster = Cluster(group(), cache(), service("s", "team-a"), ISOLATED)
    cluster.reconcile_cache()
    assert model_pvc_name("iris", "gpu", URI) in claims(cluster)


def test_the_report_about_the_namespaces_folder_counts() -> None:
    cluster = two(ISOLATED)
    settle(cluster)
    cluster.say("team-a/iris", "ModelDownloaded", storageKey=storage_key(URI, "team-a"))
    settle(cluster)
    assert cluster.namespace_cache().status.node_status == {"node-1": "NodeDownloaded"}


def test_the_claim_of_another_isolation_goes_when_no_pod_names_it() -> None:
    cluster = two(ISOLATED)
    settle(cluster)
    found = cluster.client.get(ConfigMap, ISOLATED.name, namespace=ISOLATED.namespace)
    found.data["localModel"] = '{"servingVolumeScope": "model", "storageIsolation": "shared"}'
    cluster.client.update(found)
    for _ in range(3):
        settle(cluster)
    assert claims(cluster) == sorted(["iris-gpu", model_pvc_name("iris", "gpu", URI, "team-a")])


def test_a_namespace_cannot_have_folders_of_its_own_in_volumes_that_show_all() -> None:
    with pytest.raises(ConfigError, match="storageIsolation namespace needs servingVolumeScope model"):
        LocalModelConfig.from_config_map(config_map('{"storageIsolation": "namespace"}'))
