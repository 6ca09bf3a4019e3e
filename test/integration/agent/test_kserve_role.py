"""An agent under KServe's own role and definitions, where only the images were swapped (design.md section 3)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import kserve_crds
from support.liveagent import KEY, LiveAgent, entry

from localmodel.api import LocalModelCache
from localmodel.runtime.objects import ConfigMap, RESTMapping, Unstructured
from localmodel.sandbox import install

pytestmark = pytest.mark.own_server("installs roles of fixed names")

RBAC = "rbac.authorization.k8s.io"
ROLE = "kserve-localmodelnode-agent-role"
BINDING = "kserve-localmodelnode-agent-rolebinding"
EVERYTHING = ["create", "delete", "get", "list", "patch", "update", "watch"]
READ = ["get", "list", "watch"]
RULES = [
    {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]},
    {"apiGroups": [""], "resources": ["nodes", "secrets", "serviceaccounts"], "verbs": READ},
    {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": EVERYTHING},
    {
        "apiGroups": ["serving.kserve.io"],
        "resources": ["clusterstoragecontainers", "localmodelnodegroups"],
        "verbs": READ,
    },
    {"apiGroups": ["serving.kserve.io"], "resources": ["localmodelnodes"], "verbs": EVERYTHING},
    {"apiGroups": ["serving.kserve.io"], "resources": ["localmodelnodes/status"], "verbs": ["get", "patch", "update"]},
]
"""kserve-behaviour.md 14; `*/finalizers` is granted as its owner references need it (D-87)."""


@pytest.fixture
def it(tmp_path: Path) -> Iterator[LiveAgent]:
    with LiveAgent(tmp_path, definitions=kserve_crds.definitions(minimal=False)) as made:
        for kind, name, namespace in (
            ("Role", ROLE, install.NAMESPACE),
            ("RoleBinding", BINDING, install.NAMESPACE),
            ("Role", "kserve-localmodelnode-agent-jobs-role", install.JOB_NAMESPACE),
            ("RoleBinding", "kserve-localmodelnode-agent-jobs-rolebinding", install.JOB_NAMESPACE),
        ):
            of = Unstructured.of(RESTMapping.of(RBAC, "v1", kind))
            made.client.delete(made.client.get(of, name, namespace=namespace))
        role = {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": ROLE}, "rules": RULES}
        install.apply_all(made.client, [role])
        yield made


def test_a_model_is_downloaded_and_goes_when_its_cache_has_gone(it: LiveAgent) -> None:
    found = it.client.get(ConfigMap, "inferenceservice-config", namespace=install.NAMESPACE)
    settings = json.loads(found.data["localModel"])
    found.data["localModel"] = json.dumps(settings | {"unreferencedGraceSeconds": 1, "reconcilationFrequencyInSecs": 1})
    it.client.update(found)
    it.start()
    it.want(entry())
    it.until("the download starts", it.jobs)
    it.download(it.jobs()[0])
    it.until("it is downloaded", lambda: it.status() == "ModelDownloaded")

    for cache in it.client.list(LocalModelCache):
        it.client.delete(cache)
    it.want_nothing()
    it.until("it is gone", lambda: not (it.root / "models" / KEY).exists() and it.node().status.model_status == {})
    it.stop()
    assert "pods may not be read" in it.log()
