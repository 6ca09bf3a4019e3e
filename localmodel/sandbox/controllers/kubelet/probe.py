"""Readiness probes: exec (a local process, paths rewritten as for the container) and httpGet on loopback."""

from __future__ import annotations

import http.client
import subprocess
from collections.abc import Sequence
from typing import Any

from .container import Command
from .mounts import Mount, rewrite


def is_supported(probe: dict[str, Any]) -> bool:
    return bool(probe.get("exec") or (probe.get("httpGet") and isinstance(probe["httpGet"].get("port"), int)))


def succeeds(probe: dict[str, Any], command: Command, mounts: Sequence[Mount]) -> bool:
    """Runs a supported probe once against a running container, at most `timeoutSeconds` (1) long."""
    timeout = float(probe.get("timeoutSeconds") or 1)
    if action := probe.get("exec"):
        arguments = [rewrite(argument, mounts) for argument in action["command"]]
        return _run(arguments, command, timeout)
    return _get(probe["httpGet"], timeout)


def _run(arguments: list[str], command: Command, timeout: float) -> bool:
    try:
        done = subprocess.run(
            arguments, env=dict(command.env), cwd=command.directory, capture_output=True, timeout=timeout, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _get(action: dict[str, Any], timeout: float) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", action["port"], timeout=timeout)
    try:
        connection.request("GET", action.get("path") or "/")
        return 200 <= connection.getresponse().status < 400
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
