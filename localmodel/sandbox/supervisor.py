"""`Supervisor`: keeps the sandbox's programs running, as the kubelet keeps a pod's containers.

Each program is a child process with a log file of its own. One that exits is started again after a delay that doubles
from half a second, and starts over once it has run for ten seconds. `stop` ends them in reverse order of their start.
A child cannot outlive the supervisor's process (see `spawn`). One thread per program waits for its exit; nothing polls.
"""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from localmodel.runtime.clock import Clock, RealClock

from .interrupts import held_back
from .spawn import Spawner, stop_process

log = structlog.get_logger(__name__)

FIRST_DELAY = 0.5
LONGEST_DELAY = 10.0
STABLE_AFTER = 10.0


RestartObserver = Callable[["Child", int], None]


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to run. `env` is the whole environment of the process."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    directory: Path = Path("/")
    grace: float = 10.0
    """Seconds between SIGTERM and SIGKILL when it is stopped."""


class Child:
    """One supervised program: its current process, its log, how often it was started again."""

    def __init__(
        self, program: Program, log_file: Path, spawner: Spawner, clock: Clock, on_restart: RestartObserver
    ) -> None:
        self.program = program
        self.log = log_file
        self.restarts = 0
        self._spawner = spawner
        self._clock = clock
        self._on_restart = on_restart
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        """Held while the process is replaced, so that `stop` never misses one that is just being started."""
        self._process = self._spawn()
        self._thread = threading.Thread(target=self._keep_running, name=f"supervise-{program.name}", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        """Of the current process, or of the last one while it waits to be started again."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        """Ends the process for good; idempotent."""
        with self._lock:
            self._stopping.set()
            process = self._process
        stop_process(process, grace=self.program.grace)
        self._thread.join()

    def _spawn(self) -> subprocess.Popen[bytes]:
        program = self.program
        return self._spawner.spawn(program.command, env=program.env, directory=program.directory, output=self.log)

    def _keep_running(self) -> None:
        delay = FIRST_DELAY
        while True:
            started = self._clock.monotonic()
            code = self._process.wait()
            if self._stopping.is_set():
                return
            if self._clock.monotonic() - started >= STABLE_AFTER:
                delay = FIRST_DELAY
            log.info(
                "program exited, starting it again",
                program=self.program.name, exit_code=code, delay_seconds=delay, log=str(self.log),
            )  # fmt: skip
            if self._clock.wait_event(self._stopping, delay):
                return
            delay = min(delay * 2, LONGEST_DELAY)
            with self._lock:
                if self._stopping.is_set():
                    return
                self._process = self._spawn()
                self.restarts += 1
            self._on_restart(self, code)


class Supervisor:
    """Starts programs and stops all of them, last first. Use as a context manager."""

    def __init__(
        self,
        *,
        log_directory: Path,
        on_restart: RestartObserver | None = None,
        spawner: Spawner | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`on_restart` is told of each program that ended and runs again, with its exit status as Popen gives it."""
        self._log_directory = log_directory
        self._on_restart = on_restart or (lambda _child, _code: None)
        self._spawner = spawner or Spawner()
        self._clock = clock or RealClock()
        self._children: dict[str, Child] = {}

    def start(self, program: Program) -> Child:
        """Starts a program and keeps it running. Its output goes to LOG_DIRECTORY/NAME.log."""
        if program.name in self._children:
            raise ValueError(f"a program named {program.name} is already supervised: give each a name of its own")
        self._log_directory.mkdir(parents=True, exist_ok=True)
        log_file = self._log_directory / f"{program.name}.log"
        with held_back():  # a process that was forked and not noted would outlive `stop`
            child = Child(program, log_file, self._spawner, self._clock, self._on_restart)
            self._children[program.name] = child
        return child

    def __getitem__(self, name: str) -> Child:
        return self._children[name]

    @property
    def children(self) -> tuple[Child, ...]:
        """In the order of their start."""
        return tuple(self._children.values())

    def stop(self) -> None:
        """Ends every program, in reverse order of their start; idempotent."""
        while self._children:
            _, child = self._children.popitem()
            child.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def ending(code: int) -> str:
    """How a process ended, from its exit status as Popen gives it: a negative one is a signal."""
    if code >= 0:
        return f"exited with status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
