"""The columns of pods: the STATUS that kubectl shows is put together from phase, reasons and container states."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from .ages import age
from .table import AGE_COLUMN, Column, Json

NONE = "<none>"
GATED = "SchedulingGated"
"""Of the condition PodScheduled, and shown, while something holds a pod back from the scheduler."""


def _statuses(pod: Json, field: str = "containerStatuses") -> list[Json]:
    return (pod.get("status") or {}).get(field) or []


def pod_status(pod: Json) -> str:
    """printPod's reason: initialization first, then the containers, then deletion."""
    status = pod.get("status") or {}
    reason = status.get("reason") or status.get("phase") or "Unknown"
    if any(c.get("type") == "PodScheduled" and c.get("reason") == GATED for c in status.get("conditions") or ()):
        reason = GATED
    initializing = _initialization(pod)
    reason = initializing or _running(pod, reason)
    if (pod.get("metadata") or {}).get("deletionTimestamp"):
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return str(reason)


def _initialization(pod: Json) -> str:
    """Init:... while some init container has not succeeded, else empty."""
    total = len((pod.get("spec") or {}).get("initContainers") or [])
    for index, container in enumerate(_statuses(pod, "initContainerStatuses")):
        state = container.get("state") or {}
        if (terminated := state.get("terminated")) is not None:
            if terminated.get("exitCode") == 0:
                continue
            return f"Init:{_exit_reason(terminated)}"
        waiting = (state.get("waiting") or {}).get("reason")
        return f"Init:{waiting}" if waiting and waiting != "PodInitializing" else f"Init:{index}/{total}"
    return ""


def _running(pod: Json, reason: str) -> str:
    has_running = False
    for container in reversed(_statuses(pod)):
        state = container.get("state") or {}
        waiting = (state.get("waiting") or {}).get("reason")
        if waiting:
            reason = waiting
        elif (terminated := state.get("terminated")) is not None:
            reason = _exit_reason(terminated)
        elif container.get("ready") and "running" in state:
            has_running = True
    if reason == "Completed" and has_running:
        ready = any(
            c.get("type") == "Ready" and c.get("status") == "True"
            for c in (pod.get("status") or {}).get("conditions") or ()
        )
        return "Running" if ready else "NotReady"
    return reason


def _exit_reason(terminated: Json) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    signal = terminated.get("signal")
    return f"Signal:{signal}" if signal else f"ExitCode:{terminated.get('exitCode', 0)}"


def _ready(pod: Json, _: datetime) -> str:
    ready = sum(bool(container.get("ready")) for container in _statuses(pod))
    return f"{ready}/{len((pod.get('spec') or {}).get('containers') or [])}"


def _restarts(pod: Json, now: datetime) -> str:
    count, last = 0, ""
    for container in _statuses(pod):
        count += container.get("restartCount") or 0
        finished = ((container.get("lastState") or {}).get("terminated") or {}).get("finishedAt") or ""
        last = max(last, finished)
    return f"{count} ({age(last, now)} ago)" if count and last else str(count)


def _nominated(pod: Json, _: datetime) -> Any:
    return (pod.get("status") or {}).get("nominatedNodeName") or NONE


def _gates(pod: Json, _: datetime) -> str:
    gates = (pod.get("spec") or {}).get("readinessGates") or []
    if not gates:
        return NONE
    true = {c.get("type") for c in (pod.get("status") or {}).get("conditions") or () if c.get("status") == "True"}
    return f"{sum(gate.get('conditionType') in true for gate in gates)}/{len(gates)}"


POD_COLUMNS = (
    Column("Ready", _ready),
    Column("Status", lambda pod, _: pod_status(pod)),
    Column("Restarts", _restarts),
    AGE_COLUMN,
    Column("IP", lambda pod, _: (pod.get("status") or {}).get("podIP") or NONE, priority=1),
    Column("Node", lambda pod, _: (pod.get("spec") or {}).get("nodeName") or NONE, priority=1),
    Column("Nominated Node", _nominated, priority=1),
    Column("Readiness Gates", _gates, priority=1),
)
