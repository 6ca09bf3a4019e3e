"""Which models the pods of a node have mounted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from localmodel.agent.inuse import find_in_use
from localmodel.agent.manifest import Reference
from localmodel.api.names import model_pvc_name
from localmodel.runtime.objects import Pod

KEY = "89da10faf446bbf1"


OURS = {
    KEY: (Reference(model="iris", node_group="gpu1"),),
    "b" * 16: (Reference(namespace="team", model="x", node_group="g"),),
}


def pod(claim: str = "", sub_path: str = "", namespace: str = "default", **metadata: Any) -> Pod:
    volumes = [{"name": "m", "persistentVolumeClaim": {"claimName": claim}}] if claim else []
    mounts = [{"name": "m", "mountPath": "/m", "subPath": sub_path}]
    return Pod.from_dict({
        "metadata": {"name": "p", "namespace": namespace, **metadata},
        "spec": {"volumes": volumes, "containers": [{"name": "c", "image": "i", "volumeMounts": mounts}]},
        "status": {"phase": "Running"},
    })  # fmt: skip


@pytest.mark.parametrize(
    ("user", "keys"),
    [
        (pod(), set()),
        (pod("foreign", "data"), set()),
        (pod("iris-gpu1", f"models/{KEY}"), {KEY}),
        (pod("renamed", f"models/{KEY}/v1"), {KEY}),
        (pod("renamed", "models/" + "c" * 16), set()),
        (pod("renamed", f"models/{KEY}0"), set()),
        (pod("iris-gpu1", ""), set(OURS)),
        (pod("x-g", f"models/{'b' * 16}", namespace="team"), {"b" * 16}),
        (pod("x-g", "", namespace="elsewhere"), set()),
        (pod(model_pvc_name("iris", "another", "s3://mybucket/mymodel"), "v1"), {KEY}),
        (pod(model_pvc_name("x", "g", "s3://b"), labels={"internal.serving.kserve.io/localmodel": "x"}), set()),
        (pod("unknown", "", labels={"internal.serving.kserve.io/localmodel": "m"}), set(OURS)),
        (
            pod(
                "iris-gpu1",
                f"models/.staging/{KEY}",
                namespace="jobs",
                labels={"localmodel.kserve.io/storage-key": KEY},
            ),
            set(),
        ),
    ],
)
def test_which_models_a_pod_uses(user: Pod, keys: set[str]) -> None:
    found = find_in_use([user], lambda: OURS, jobs_namespace="jobs")
    assert {key for key in OURS if key in found} == keys


def test_a_mount_of_an_init_container_is_a_use() -> None:
    user = pod("renamed", f"models/{KEY}")
    user.spec.init_containers, user.spec.containers = user.spec.containers, []
    assert KEY in find_in_use([user], lambda: OURS, jobs_namespace="jobs")


def test_a_finished_pod_uses_nothing() -> None:
    user = pod("iris-gpu1", f"models/{KEY}")
    user.status.phase = "Succeeded"
    assert KEY not in find_in_use([user], lambda: OURS, jobs_namespace="jobs")


def test_a_pod_holds_what_a_key_had_also_when_the_key_is_forgotten() -> None:
    user = pod("iris-gpu1", "models/0123456789abcdef", creationTimestamp="2026-01-02T00:00:00Z", uid="u")
    found = find_in_use([user], lambda: OURS, jobs_namespace="jobs")
    assert found.pods["0123456789abcdef"] == {"u": datetime(2026, 1, 2, tzinfo=UTC)}
