"""`servingVolumeScope: model` on a simulated node: a pod waits for its model, and sees nothing else."""

from __future__ import annotations

from pathlib import Path

from support.gate import Gate
from support.sandbox import sandbox

from localmodel.api.names import model_pvc_name, serving_pvc_name, storage_key
from localmodel.manager.indexes import InferenceService
from localmodel.manager.podmounts import claim_volumes, show_single
from localmodel.runtime.objects import PersistentVolumeClaim, Pod
from localmodel.sandbox import demo_objects

URI = "hf://org/model-1"
NAMESPACE = demo_objects.SERVICE_NAMESPACE


def test_a_pod_waits_until_its_model_is_on_its_node(tmp_path: Path) -> None:
    single = model_pvc_name(demo_objects.CACHE_NAME, demo_objects.GROUP_NAME, URI)
    with sandbox(tmp_path, nodes=1, size=4 << 20, config={"servingVolumeScope": "model"}) as it:
        gate = it.hub.throttle = Gate()
        gate.close_at(0)
        it.cache(demo_objects.CACHE_NAME, "org/model-1")
        it.apply(demo_objects.inference_service(URI))
        client = it.cluster.client
        it.eventually(lambda: client.find(PersistentVolumeClaim, single, namespace=NAMESPACE) is not None)
        it.eventually(lambda: gate.held == 1)

        service = client.get(InferenceService, demo_objects.SERVICE_NAME, namespace=NAMESPACE)
        document = demo_objects.cached_pod(URI, service=service)
        # The sandbox has no webhooks: this is what ours does.
        (volume,) = claim_volumes(document)
        assert volume.claim == serving_pvc_name(demo_objects.CACHE_NAME, demo_objects.GROUP_NAME)
        assert show_single(document, volume, storage_key(URI), single)
        document["spec"]["containers"][0]["image"] = "kserve/storage-initializer:latest"  # which the sandbox knows
        it.apply(document)
        name = document["metadata"]["name"]
        it.eventually(lambda: any("does not exist" in message for _, _, message in it.events(name)))
        assert client.get(Pod, name, namespace=NAMESPACE).status.phase == "Pending"
        assert not it.folder("node-1", "org/model-1").exists()

        gate.open()
        it.eventually(lambda: "Started" in [reason for _, reason, _ in it.events(name)], timeout=60)
        assert it.problems("org/model-1") == []
