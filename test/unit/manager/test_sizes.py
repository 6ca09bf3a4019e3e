"""One cache is never so large that the LocalModelNodes of all caches cannot be stored."""

from __future__ import annotations

from typing import Any

import pytest
from support.manager import Cluster, cache, group, namespace_cache, node

from localmodel.api import LocalModelNamespaceCache
from localmodel.manager.sizes import MAX_CHARACTERS
from localmodel.manager.validators import LocalModelNamespaceCacheValidator
from localmodel.runtime.conditions import find_status_condition
from localmodel.runtime.webhook import AdmissionRequest, DeniedError

LONG = "x" * (MAX_CHARACTERS + 1)


@pytest.mark.parametrize(
    "spec",
    [
        {"include": ["x"] * (MAX_CHARACTERS + 1)},
        {"exclude": [LONG]},
        {"storage": {"key": LONG}},
        {"storage": {"parameters": {"a": LONG}}},
        {"storage": {"parameters": {LONG: "a"}}},
        {"serviceAccountName": LONG},
        {"revision": LONG},
        {"digest": LONG},
    ],
)
def test_a_cache_that_is_too_large_is_told_and_is_no_entry_of_nodes(spec: dict[str, Any]) -> None:
    cluster = Cluster(node(), group(), cache(), namespace_cache("large", **spec))
    cluster.reconcile_node()
    cluster.reconcile_cache("large", "team-a")
    assert cluster.entries() == ["iris"]
    found = find_status_condition(cluster.namespace_cache("large").status.conditions, "Ready")
    assert found is not None
    assert found.reason == "SpecTooLarge"
    validator = LocalModelNamespaceCacheValidator(cluster.client)
    with pytest.raises(DeniedError, match=r"^spec: its texts have \d+ characters and may have 65536"):
        validator.validate_create(namespace_cache("large", **spec), AdmissionRequest())


def test_a_cache_that_has_become_too_large_keeps_the_entry_that_it_has() -> None:
    cluster = Cluster(node(), group(), namespace_cache(revision="main"))
    cluster.reconcile_node()
    changed = cluster.namespace_cache().to_dict()
    changed["spec"]["revision"] = LONG
    cluster.client.update(LocalModelNamespaceCache.from_dict(changed))
    cluster.reconcile_node()
    (entry,) = cluster.local_model_node().spec.local_models
    assert entry.revision == "main"


def test_what_is_as_large_as_may_be_is_an_entry() -> None:
    least = cache()
    rest = MAX_CHARACTERS - len(least.spec.source_model_uri) - len(least.spec.model_size)
    cluster = Cluster(node(), group(), cache(include=["x" * rest]))
    cluster.reconcile_node()
    assert cluster.entries() == ["iris"]
