"""What an agent tells users by events may be written with its own role, to objects that are not the agent's too."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.liveagent import KEY, LiveAgent, entry

from localmodel.runtime.objects import Event, Pod

pytestmark = pytest.mark.own_server("its nodes would be the cluster's")

SERVER = {
    "metadata": {"name": "server", "namespace": "default"},
    "spec": {
        "nodeName": "node-1",
        "volumes": [{"name": "m", "persistentVolumeClaim": {"claimName": "iris-gpu1"}}],
        "containers": [
            {
                "name": "c",
                "image": "i",
                "volumeMounts": [{"name": "m", "mountPath": "/m", "subPath": f"models/{KEY}"}],
            }
        ],
    },
}


def test_a_pod_that_started_before_its_model_came_has_an_event(tmp_path: Path) -> None:
    """The kubelet has made an empty directory for it."""
    with LiveAgent(tmp_path) as it:
        (it.root / "models" / KEY).mkdir(parents=True)
        pod = it.client.create(Pod.from_dict(SERVER))
        it.client.status.patch(pod, {"status": {"phase": "Running"}})
        it.start()
        it.want(entry())
        it.until("the download starts", it.jobs)
        it.download(it.jobs()[0])
        it.until("the pod is told", lambda: "ModelReplaced" in {e.reason for e in it.client.list(Event)})
        (told,) = (event for event in it.client.list(Event) if event.reason == "ModelReplaced")
        assert (told.namespace, told.involved_object.kind, told.involved_object.name) == ("default", "Pod", "server")
