"""Probes: what a container's startup, liveness and readiness probes found, and when to look again.

The actions are exec (a local process, paths rewritten as for the container), httpGet and tcpSocket at the pod's
address; a port may be named. A probe runs at most once per period, in the thread that syncs the pod.
Rules: https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from localmodel.runtime.clock import Clock

from .container import Command
from .mounts import Mount, rewrite

Json = dict[str, Any]


class ProbeError(ValueError):
    """A probe that cannot be run here; the message says why."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is probed: a container that runs."""

    command: Command
    mounts: Sequence[Mount]
    address: str
    ports: dict[str, int]


class Probe:
    """One probe of one run of a container: counts successes and failures in a row."""

    def __init__(self, spec: Json, *, clock: Clock) -> None:
        self.spec = spec
        self._clock = clock
        self.period = float(spec.get("periodSeconds") or 10)
        self._next = clock.monotonic() + float(spec.get("initialDelaySeconds") or 0)
        self._successes = self.failures = 0
        self.message = ""
        """Of the last failure."""

    def look(self, target: Target) -> float:
        """Runs the probe if it is due; seconds until the next time. Raises ProbeError."""
        now = self._clock.monotonic()
        if now >= self._next:
            self.message = _failure(self.spec, target)
            if self.message:
                self._successes, self.failures = 0, self.failures + 1
            else:
                self._successes, self.failures = self._successes + 1, 0
            self._next = now + self.period
        return max(self._next - now, 0.01)

    @property
    def has_succeeded(self) -> bool:
        """Often enough in a row."""
        return self._successes >= int(self.spec.get("successThreshold") or 1)

    @property
    def has_failed(self) -> bool:
        """Often enough in a row."""
        return self.failures >= int(self.spec.get("failureThreshold") or 3)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the probes of a container say."""

    started: bool
    ready: bool
    kill: str = ""
    """Why the container must go, or nothing."""
    delay: float | None = None
    """Seconds until the next look."""


class ContainerProbes:
    """The probes of one run of a container. Until the startup probe has succeeded the others wait."""

    def __init__(self, spec: Json, target: Target, *, clock: Clock, report: Callable[[str, str], None]) -> None:
        """`report` is told the reason and message of events."""
        self._target = target
        self._report = report
        self._started = not spec.get("startupProbe")
        self._ready = False
        self._probes = {
            kind: Probe(spec[f"{kind}Probe"], clock=clock)
            for kind in ("startup", "liveness", "readiness")
            if spec.get(f"{kind}Probe")
        }

    def look(self) -> Verdict:
        """Runs what is due."""
        delays = []
        if not self._started:
            startup = self._probes["startup"]
            delays.append(self._look("startup", startup))
            if startup.has_failed:
                return Verdict(started=False, ready=False, kill="startup")
            self._started = startup.has_succeeded
            if not self._started:
                return Verdict(started=False, ready=False, delay=delays[0])
        if liveness := self._probes.get("liveness"):
            delays.append(self._look("liveness", liveness))
            if liveness.has_failed:
                return Verdict(started=True, ready=False, kill="liveness")
        readiness = self._probes.get("readiness")
        if readiness is not None:
            delays.append(self._look("readiness", readiness))
        self._ready = readiness is None or readiness.has_succeeded or (self._ready and not readiness.has_failed)
        return Verdict(started=True, ready=self._ready, delay=min(delays, default=None))

    def _look(self, kind: str, probe: Probe) -> float:
        try:
            failures, delay = probe.failures, probe.look(self._target)
        except ProbeError as error:
            self._report("Unhealthy", f"{kind.capitalize()} probe: {error}")
            return probe.period
        if probe.failures > failures:
            self._report("Unhealthy", f"{kind.capitalize()} probe failed: {probe.message}")
        return delay


def _failure(probe: Json, target: Target) -> str:
    """Runs a probe once, at most `timeoutSeconds` (1) long; why it failed, or nothing."""
    timeout = float(probe.get("timeoutSeconds") or 1)
    if action := probe.get("exec"):
        return _run([rewrite(argument, target.mounts) for argument in action["command"]], target.command, timeout)
    if action := probe.get("httpGet"):
        return _get(action, target, timeout)
    if action := probe.get("tcpSocket"):
        return _connect(action.get("host") or target.address, _port(action, target), timeout)
    kinds = ", ".join(sorted(set(probe) & {"grpc"})) or "nothing"
    raise ProbeError(f"the sandbox probes by exec, httpGet and tcpSocket, not by {kinds}")


def _run(arguments: list[str], command: Command, timeout: float) -> str:
    try:
        done = subprocess.run(
            arguments, env=dict(command.env), cwd=command.directory, capture_output=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        return f"command timed out after {timeout:g}s"
    except OSError as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stdout + done.stderr)[:1024].decode(errors="replace") or "failed"


def _get(action: Json, target: Target, timeout: float) -> str:
    host, port = action.get("host") or target.address, _port(action, target)
    if action.get("scheme") == "HTTPS":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=timeout, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
    headers = {header["name"]: header["value"] for header in action.get("httpHeaders") or []}
    try:
        connection.request("GET", action.get("path") or "/", headers=headers)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f'Get "http://{host}:{port}{action.get("path") or "/"}": {error}'
    finally:
        connection.close()
    return "" if 200 <= status < 400 else f"HTTP probe failed with statuscode: {status}"


def _connect(host: str, port: int, timeout: float) -> str:
    try:
        socket.create_connection((host, port), timeout).close()
    except OSError as error:
        return f"dial tcp {host}:{port}: {error}"
    return ""


def _port(action: Json, target: Target) -> int:
    port = action.get("port")
    if isinstance(port, int):
        return port
    if port not in target.ports:
        raise ProbeError(f"the container has no port named {port!r}")
    return target.ports[port]
