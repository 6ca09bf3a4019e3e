"""`Container`: one container of a pod as a local process: started, watched, killed, and what its status says.

The states are Kubernetes' own: waiting (with a reason), running, terminated. A container that is started again keeps
its last termination. One thread waits for each process and wakes the pod when it ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from localmodel.runtime.clock import Clock
from localmodel.runtime.objects import format_time
from localmodel.sandbox.spawn import Spawner, signal_group

from .logs import LogWriter

BACK_OFF = "CrashLoopBackOff"
FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 300.0
MESSAGE_LIMIT = 4096
LOG_MESSAGE_BYTES, LOG_MESSAGE_LINES = 2048, 80
LAST_OUTPUT = 1.0
"""Seconds that the output of a process may still take after its end."""

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Command:
    """A process to start."""

    arguments: Sequence[str]
    env: Mapping[str, str]
    directory: Path
    log: Path
    termination_log: Path


@dataclass(frozen=True, kw_only=True)
class Termination:
    """How a container's process ended."""

    exit_code: int
    reason: str
    message: str = ""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    signal: int = 0

    def to_dict(self) -> Json:
        data: Json = {"exitCode": self.exit_code, "reason": self.reason}
        if self.signal:
            data["signal"] = self.signal
        if self.message:
            data["message"] = self.message
        for key, time in (("startedAt", self.started_at), ("finishedAt", self.finished_at)):
            data[key] = None if time is None else format_time(time)
        return data


class Container:
    """One container. Used under its pod's reconcile, one call at a time; only `wake` is called by another thread."""

    def __init__(self, spec: Json, *, spawner: Spawner, clock: Clock, wake: Callable[[], None]) -> None:
        self.spec = spec
        self.name: str = spec["name"]
        self.restarts = 0
        self.termination: Termination | None = None
        """Of the current run; None while it waits or runs."""
        self.last_termination: Termination | None = None
        self.waiting: tuple[str, str] = ("ContainerCreating", "")
        """Reason and message, for as long as there is no process and no termination."""
        self.ready = False
        self.started = False
        """The startup probe has succeeded, if there is one."""
        self.started_at: datetime | None = None
        self.not_before = 0.0
        """Monotonic time before which it is not started again."""
        self._kill_at = 0.0
        """Monotonic time of SIGKILL, for a container that was told to end; else 0."""
        self._process: subprocess.Popen[bytes] | None = None
        self._command: Command | None = None
        self._output: LogWriter | None = None
        """Of the current run, or of the last one."""
        self._spawner = spawner
        self._clock = clock
        self._wake = wake

    @property
    def is_running(self) -> bool:
        return self._process is not None

    @property
    def succeeded(self) -> bool:
        return self.termination is not None and self.termination.exit_code == 0

    @property
    def command(self) -> Command | None:
        """What runs, or ran last."""
        return self._command

    @property
    def output(self) -> LogWriter | None:
        """Of what runs, or ran last here."""
        return self._output

    def start(self, command: Command) -> None:
        """Starts the process; a run before this one becomes the last termination."""
        if self.termination is not None:
            self.last_termination, self.termination = self.termination, None
            self.restarts += 1
        command.termination_log.unlink(missing_ok=True)
        self._command = command
        self.waiting, self.not_before = ("ContainerCreating", ""), 0.0
        self.started_at = self._clock.now()
        self._output = LogWriter(command.log, self._clock)
        try:
            self._process = self._spawner.spawn(
                command.arguments, env=command.env, directory=command.directory, output=self._output.descriptor
            )
        except BaseException:
            self._output.abandon()
            raise
        self._output.start()
        threading.Thread(target=self._wait, args=(self._process,), name=f"wait-{self.name}", daemon=True).start()

    def _wait(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self._wake()

    def observe(self) -> None:
        """Turns a process that has ended into a termination."""
        if self._process is None or (code := self._process.poll()) is None:
            return
        signal_group(self._process, signal.SIGKILL)  # what the container left behind
        if self._output is not None:
            self._output.finish(LAST_OUTPUT)
        self._process = None
        self.ready, self.started, self._kill_at = False, False, 0.0
        exit_code, signum = (code, 0) if code >= 0 else (128 - code, -code)
        self.termination = Termination(
            exit_code=exit_code,
            reason="Completed" if exit_code == 0 else "Error",
            message=self._message(exit_code),
            started_at=self.started_at,
            finished_at=self._clock.now(),
            signal=signum,
        )

    def lose(self) -> None:
        """The process went with a kubelet before this one."""
        self.termination = Termination(
            exit_code=137,
            reason="ContainerStatusUnknown",
            message="The container could not be located when the pod was synced: the kubelet was started again",
            started_at=self.started_at,
            finished_at=self._clock.now(),
        )

    def restore(self, status: Json) -> None:
        """Takes over what the pod's status says of a container that this kubelet did not start."""
        self.restarts = status.get("restartCount", 0)
        if last := (status.get("lastState") or {}).get("terminated"):
            self.last_termination = _termination(last)
        state = status.get("state") or {}
        if terminated := state.get("terminated"):
            self.termination = _termination(terminated)
        elif running := state.get("running"):
            self.started_at = _parse(running.get("startedAt"))
            self.lose()
        elif self.last_termination is not None:  # it waited for its next run
            self.termination, self.last_termination = self.last_termination, None

    def logged_run(self, *, previous: bool) -> int | None:
        """The number of the run whose log is asked for: the current or last one, or the one before; None for none.

        While it waits for its next start, the last run is both, as in Kubernetes.
        """
        if self._backs_off:
            return self.restarts
        if previous:
            return self.restarts - 1 if self.last_termination is not None else None
        if self.is_running or self.termination is not None:
            return self.restarts
        return None

    def back_off(self) -> float:
        """Seconds until a container that ended may be started again: 1 s, doubling with each restart."""
        if not self._backs_off:
            delay = min(FIRST_BACKOFF * 2**self.restarts, LONGEST_BACKOFF)
            self.not_before = self._clock.monotonic() + delay
            self.waiting = (BACK_OFF, f"back-off {delay:.0f}s restarting failed container={self.name}")
        return self.not_before - self._clock.monotonic()

    @property
    def _backs_off(self) -> bool:
        return self.termination is not None and self.waiting[0] == BACK_OFF

    def refuse(self, reason: str, message: str, *, retry: float) -> None:
        """It cannot be started now; looks again after `retry` seconds."""
        self.waiting = (reason, message)
        self.not_before = self._clock.monotonic() + retry

    def terminate(self) -> None:
        """Asks the process to end (SIGTERM)."""
        if self._process is not None:
            self._process.terminate()

    def end_within(self, grace: float) -> float | None:
        """SIGTERM now, SIGKILL after `grace` seconds from the first call on; seconds to look again, None when ended."""
        if self._process is None:
            return None
        now = self._clock.monotonic()
        if not self._kill_at:
            self.terminate()
            self._kill_at = now + grace
        elif now >= self._kill_at:
            self.kill()
        return max(self._kill_at - now, 0.05)

    @property
    def is_ending(self) -> bool:
        return self._kill_at > 0

    def kill(self) -> None:
        """SIGKILL to the process and what it started."""
        if self._process is not None:
            signal_group(self._process, signal.SIGKILL)

    def wait(self, timeout: float) -> bool:
        """Whether the process has ended within `timeout` seconds."""
        if self._process is not None:
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                return False
        return True

    def _message(self, exit_code: int) -> str:
        """The termination message: the file, or for a failure the end of the log if the policy says so."""
        if self._command is None:
            return ""
        text = _tail(self._command.termination_log, MESSAGE_LIMIT)
        policy = self.spec.get("terminationMessagePolicy")
        if not text and exit_code != 0 and policy == "FallbackToLogsOnError":
            lines = _tail(self._command.log, LOG_MESSAGE_BYTES).splitlines(keepends=True)
            text = "".join(deque(lines, LOG_MESSAGE_LINES))
        return text

    def status(self) -> Json:
        """The ContainerStatus."""
        last = self.termination if self._backs_off else self.last_termination
        return {
            "name": self.name,
            "image": self.spec.get("image", ""),
            "imageID": "",
            "ready": self.ready,
            "started": self.is_running and self.started,
            "restartCount": self.restarts,
            "state": self._state(),
            "lastState": {"terminated": last.to_dict()} if last else {},
        }

    def _state(self) -> Json:
        if self._process is not None and self.started_at is not None:
            return {"running": {"startedAt": format_time(self.started_at)}}
        if self.termination is not None and not self._backs_off:
            return {"terminated": self.termination.to_dict()}
        reason, message = self.waiting
        return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def _tail(path: Path, limit: int) -> str:
    """At most the last `limit` bytes of a file as text; empty if there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - limit, 0))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def _termination(status: Json) -> Termination:
    return Termination(
        exit_code=status.get("exitCode", 0),
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        started_at=_parse(status.get("startedAt")),
        finished_at=_parse(status.get("finishedAt")),
        signal=status.get("signal", 0),
    )


def _parse(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
