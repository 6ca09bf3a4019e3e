"""The validating webhooks: KServe's rules without what it gets wrong."""

from __future__ import annotations

from typing import Any

import pytest
from support.manager import Cluster, cache, group, namespace_cache, service
from support.rigid import Rigid

from localmodel.api import LocalModelCache, LocalModelNamespaceCache, NamespacedName
from localmodel.manager.indexes import InferenceService, LLMInferenceService
from localmodel.manager.validators import LocalModelCacheValidator, LocalModelNamespaceCacheValidator
from localmodel.runtime.errors import ForbiddenError
from localmodel.runtime.objects import Object, ObjectMeta
from localmodel.runtime.testing import FakeClient
from localmodel.runtime.webhook import AdmissionRequest, DeniedError

REQUEST = AdmissionRequest()


def validator(*objects: Object) -> LocalModelCacheValidator:
    return LocalModelCacheValidator(Cluster(*objects).client)


def namespace_validator(*objects: Object) -> LocalModelNamespaceCacheValidator:
    return LocalModelNamespaceCacheValidator(Cluster(*objects).client)


# a URI is cached once


def test_a_second_cache_of_a_uri_is_refused() -> None:
    with pytest.raises(DeniedError, match=r"^LocalModelCache iris has the same StorageURI hf://o/m$"):
        validator(group(), cache()).validate_create(cache("other"), REQUEST)


def test_another_uri_is_let_pass_and_so_is_the_same_cache() -> None:
    it = validator(group(), cache())
    assert it.validate_create(cache("other", sourceModelUri="hf://o/n"), REQUEST) == []
    assert it.validate_create(cache(), REQUEST) == []


def test_a_uri_that_differs_by_a_slash_is_warned_of_d76() -> None:
    (warning,) = validator(group(), cache()).validate_create(cache("other", sourceModelUri="hf://o/m/"), REQUEST) or []
    assert warning.startswith("LocalModelCache iris has hf://o/m, which serves the same services")


def test_namespaces_may_cache_what_others_do() -> None:
    it = namespace_validator(group(), cache(), namespace_cache())
    assert it.validate_create(namespace_cache("other"), REQUEST) == []


def test_an_update_is_not_judged_by_what_it_does_not_change_d26() -> None:
    it = validator(cache(), cache("twin"))
    changed = cache("twin")
    changed.metadata.finalizers = ["x/y"]
    assert it.validate_update(cache("twin"), changed, REQUEST) is None
    assert it.validate_update(cache("twin"), cache("twin", priority=3), REQUEST) == []


def test_an_object_on_its_way_out_may_be_updated() -> None:
    it = Cluster(group(), cache())
    found = it.cache()
    found.metadata.finalizers = ["x/y"]
    it.client.update(found)
    it.client.delete(found)
    going = it.cache()
    going.spec.node_groups = []
    assert LocalModelCacheValidator(it.client).validate_update(found, going, REQUEST) is None


# what minimal definitions let through


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"sourceModelUri": ""}, "spec.sourceModelUri: say where the model comes from"),
        ({"nodeGroups": []}, "spec.nodeGroups: name at least one LocalModelNodeGroup"),
        ({"modelSize": "lots"}, "spec.modelSize: .*lots"),
    ],
)
def test_what_makes_no_sense_is_refused_d24(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(DeniedError, match=f"^{said}"):
        validator(group()).validate_create(_with(**spec), REQUEST)
    with pytest.raises(DeniedError, match=f"^{said}"):
        validator(group()).validate_update(_with(sourceModelUri=""), _with(priority=1, **spec), REQUEST)


def _with(**spec: Any) -> LocalModelCache:
    made = cache()
    return LocalModelCache.from_dict({"metadata": {"name": "iris"}, "spec": made.to_dict()["spec"] | spec})


def test_a_uri_cannot_be_changed_d28() -> None:
    with pytest.raises(DeniedError, match="StorageUri is immutable: it stays hf://o/m"):
        validator(group()).validate_update(cache(), cache(sourceModelUri="hf://o/n"), REQUEST)


# groups


def test_a_namespaces_cache_names_groups_that_exist() -> None:
    it = namespace_validator(group())
    assert it.validate_create(namespace_cache(), REQUEST) == []
    with pytest.raises(DeniedError, match=r"^NodeGroup nope not found"):
        it.validate_create(namespace_cache("iris", "gpu", "nope"), REQUEST)
    with pytest.raises(DeniedError, match=r"^NodeGroup nope not found"):
        it.validate_update(namespace_cache(), namespace_cache("iris", "gpu", "nope"), REQUEST)


def test_a_group_that_went_keeps_nobody_from_other_changes() -> None:
    it = namespace_validator(group())
    old = namespace_cache("iris", "gone")
    assert it.validate_update(old, namespace_cache("iris", "gone", "gpu"), REQUEST) == []


def test_a_cluster_cache_may_name_a_group_that_comes_later() -> None:
    assert validator().validate_create(cache(), REQUEST) == [
        "LocalModelNodeGroup gpu not found: the cache waits for it"
    ]


# deletion


def test_a_cache_in_use_is_not_deleted_whatever_its_status_says_d27() -> None:
    it = validator(cache(), service("s", "team-a"))
    with pytest.raises(DeniedError, match=r"^LocalModelCache iris is being used by InferenceService s$"):
        it.validate_delete(cache(), REQUEST)


def test_a_namespaces_cache_in_use_is_not_deleted() -> None:
    it = namespace_validator(service("s", "team-a", of="team-a"))
    with pytest.raises(
        DeniedError, match=r"^LocalModelNamespaceCache team-a/iris is being used by InferenceService team-a/s$"
    ):
        it.validate_delete(namespace_cache(), REQUEST)


def test_an_llm_inference_service_protects_its_cache() -> None:
    labels = {"internal.serving.kserve.io/localmodel": "iris"}
    used = LLMInferenceService(metadata=ObjectMeta(name="llm", namespace="team-a", labels=labels))
    with pytest.raises(DeniedError, match=r"^LocalModelCache iris is being used by LLMInferenceService llm$"):
        validator(used).validate_delete(cache(), REQUEST)


def test_a_service_that_is_gone_protects_nothing_d25() -> None:
    used = cache()
    used.status.inference_services = [NamespacedName(namespace="team-a", name="gone")]
    assert validator(used).validate_delete(used, REQUEST) is None


def test_the_services_of_a_namesake_of_the_other_scope_do_not_count_d60() -> None:
    assert validator(service("s", "team-a", of="team-a")).validate_delete(cache(), REQUEST) is None
    assert namespace_validator(service("s", "team-a")).validate_delete(namespace_cache(), REQUEST) is None


def test_without_kserve_nothing_is_in_use() -> None:
    client = FakeClient()
    for kind in (InferenceService, LLMInferenceService):
        client.withdraw(kind)
    assert LocalModelCacheValidator(client).validate_delete(cache(), REQUEST) is None


def test_a_cache_is_not_deleted_if_nobody_can_say_who_uses_it() -> None:
    client = FakeClient()
    client.faults.fail(ForbiddenError.of("no"), verb="list")
    with pytest.raises(ForbiddenError):
        LocalModelNamespaceCacheValidator(client).validate_delete(
            LocalModelNamespaceCache(metadata=ObjectMeta(name="iris", namespace="team-a")), REQUEST
        )


def test_a_group_that_nothing_can_be_called_does_not_exist() -> None:
    live = Rigid(Cluster().client)
    (warning,) = LocalModelCacheValidator(live).validate_create(cache("iris", "a/b"), REQUEST) or []
    assert warning == "LocalModelNodeGroup a/b not found: the cache waits for it"
    with pytest.raises(DeniedError, match=r"^NodeGroup a/b not found"):
        LocalModelNamespaceCacheValidator(live).validate_create(namespace_cache("iris", "a/b"), REQUEST)


def test_a_cache_whose_name_is_no_label_has_no_services_and_can_be_deleted() -> None:
    it = cache("i" * 64)
    assert validator(group(), it).validate_delete(it, REQUEST) is None
