"""Pods that go on with what was in a model's place before it: they are told to restart (design.md section 4).

A mount shows the directory that was there when its container started: a model that was damaged or of other files, or an
empty directory that the kubelet made because the model was not there yet. No publication reaches into it.
"""

from __future__ import annotations

from localmodel.runtime.events import EventRecorder

from .context import Pass
from .decisions import Wanted


def tell_outdated(wanted: Wanted, current: Pass, recorder: EventRecorder) -> None:
    """An event for each pod that surely had the model's place mounted when another folder took it."""
    users = current.in_use.named.get(wanted.key, frozenset())
    for pod in current.pods:
        if pod.metadata.uid in users and pod.status.phase == "Running":
            recorder.event(
                pod,
                "Warning",
                "ModelReplaced",
                f"{wanted.uri} was downloaded to node {current.node.name} after this pod had started, which goes on "
                "with what was there before: delete the pod, and the next one has the model",
            )
