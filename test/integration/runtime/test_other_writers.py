"""The official client and kubectl write, beside each other; our informer follows them."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any

import kubernetes
from support.apiserver import Kubectl
from support.eventually import eventually
from support.folding import Folding
from support.kubectl import needs_kubectl
from support.live import Live

from localmodel.runtime.informer import InformerOptions, SharedInformer
from localmodel.runtime.objects import ConfigMap, ObjectKey

NAMES = [f"c{number}" for number in range(12)]
ROUNDS = 150


def write_officially(core: Any, namespace: str, seed: int) -> None:
    """Creates, replaces, patches and deletes at random; what another writer was faster with does not count."""
    rng = random.Random(seed)
    for number in range(ROUNDS):
        name = rng.choice(NAMES)
        body = {"metadata": {"name": name}, "data": {"value": f"{seed}-{number}"}}
        write = rng.choice(("create", "replace", "patch", "delete"))
        try:
            if write == "create":
                core.create_namespaced_config_map(namespace, body)
            elif write == "replace":
                core.replace_namespaced_config_map(name, namespace, body)
            elif write == "patch":
                core.patch_namespaced_config_map(name, namespace, body)
            else:
                core.delete_namespaced_config_map(name, namespace)
        except kubernetes.client.ApiException as error:
            if error.status not in (404, 409):
                raise


def write_with_kubectl(kubectl: Kubectl) -> None:
    """The commands that people use; "not found" and "already exists" are the other writers."""
    manifest = "\n---\n".join(
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{value: kubectl}}" for name in NAMES[:4]
    )
    kubectl.run("apply", "-f", "-", stdin=manifest)
    kubectl.run("label", "configmap", "--all", "seen=by-kubectl", "--overwrite")
    kubectl.run("patch", "configmap", NAMES[0], "--type=merge", "-p", '{"data": {"patched": "yes"}}')
    kubectl.run("delete", "configmap", *NAMES[1:3], "--ignore-not-found", "--wait=false")
    kubectl.run("create", "configmap", "last", "--from-literal=by=kubectl")


def test_an_informer_follows_the_official_client_and_kubectl_writing_beside_each_other(
    live: Live, tmp_path: Path
) -> None:
    needs_kubectl()
    informer = SharedInformer(ConfigMap, live.client(), InformerOptions(namespaces=(live.namespace,)))
    handler = Folding()
    registration = informer.add_event_handler(handler)
    informer.start()
    api = kubernetes.config.new_client_from_config(str(live.kubeconfig()))
    writers = [
        threading.Thread(target=write_officially, args=(kubernetes.client.CoreV1Api(api), live.namespace, seed))
        for seed in range(3)
    ]
    writers.append(threading.Thread(target=write_with_kubectl, args=(Kubectl(live.kubeconfig(), tmp_path),)))
    try:
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(120)
            assert not writer.is_alive()

        truth = {
            ObjectKey(item.metadata.namespace, item.metadata.name): int(item.metadata.resource_version)
            for item in kubernetes.client.CoreV1Api(api).list_namespaced_config_map(live.namespace).items
        }
        assert ObjectKey(live.namespace, "last") in truth
        eventually(lambda: handler.versions == truth, message="the handler did not come to the server's state")
        assert {stored.key: int(stored.resource_version) for stored in informer.store.list()} == truth
        assert handler.contradictions == []
        assert registration.failures == 0
    finally:
        informer.stop()
        api.close()
