"""One download process: started, listened to, ended, and what came of it.

Each has a thread of its own, which starts it, waits for it and outlives it: the kernel ends a process together with the
thread that started it (`child`), so a thread that comes and goes would take its download along. A second thread reads
what it says, line by line, into the agent's log; in it nothing may be blocked for long, or the download waits.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import structlog

from .childcredentials import redacted
from .childenv import LAST_WORDS, process_environment
from .childplan import ChildPlan

if TYPE_CHECKING:
    import subprocess

    from .cgroups import MemoryGroup

log = structlog.get_logger(__name__)

GRACE_SECONDS: Final = 5.0
"""Between SIGTERM and SIGKILL: within the termination grace period of the agent's pod (10 s in KServe's manifests)."""
_LINE_BYTES: Final = 4096
_MAX_LINES: Final = 500
"""Of one download in the agent's log; the process itself tells of progress in its progress file."""
_LAST_LINES: Final = 20
_MESSAGE_BYTES: Final = 4096
"""As much as the kubelet takes of a termination message."""
_SAFE: Final = ("-P",)
"""Python options: no module is imported from where the process happens to run."""


@dataclass(frozen=True, slots=True)
class ChildExit:
    """How a process ended. `code` is its exit status, or minus the signal; `message` its last words, without secrets.

    `was_ended`: somebody asked for it by `Child.end`, and nothing follows from it. `is_late`: its deadline ended it.
    `out_of_memory`: the kernel ended it for that; None where the kernel does not say.
    """

    code: int
    message: str = ""
    was_ended: bool = False
    is_late: bool = False
    out_of_memory: bool | None = None


class Child:
    """A download process. Thread-safe."""

    def __init__(
        self,
        plan: ChildPlan,
        *,
        scratch: Path,
        lock: int,
        on_end: Callable[[Child], object],
        on_exit: Callable[[], object],
        cgroup: MemoryGroup | None = None,
        program: tuple[str, ...] | None = None,
        grace: float = GRACE_SECONDS,
    ) -> None:
        """`lock` is the descriptor that the process keeps open; the caller closes its own copy after `start`.

        When the process has ended, `on_end` is called in this child's thread, and `on_exit` once `exit` is set.
        `program` stands in for `localmodel-download`.
        """
        self.plan = plan
        self.scratch = scratch
        self.exit: ChildExit | None = None
        """None until the process has ended and all that it said was read."""
        self._program = program or (sys.executable, *_SAFE, "-m", "localmodel.download", "--log-format=json", "--")
        self._lock = lock
        self.cgroup = cgroup
        self._on_end = on_end
        self._on_exit = on_exit
        self._grace = grace
        self._process: subprocess.Popen[bytes] | None = None
        self._failure: Exception | None = None
        self._began = threading.Event()
        """Set when the process runs, or could not be started: `_process` or `_failure` is there."""
        self._changing = threading.Lock()
        """Guards the fields below, and that nobody signals a process id that was given to another process."""
        self._reaped = False
        self._was_ended = False
        self._is_late = False
        self._timers: list[threading.Timer] = []
        self._lines: deque[str] = deque(maxlen=_LAST_LINES)
        """The last errors that it logged, and what it said otherwise than as a log."""
        self._thread = threading.Thread(target=self._run, name=f"download-{plan.key}", daemon=True)

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """Raises OSError or ValueError where no process comes about; then nothing follows."""
        self._thread.start()
        self._began.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure

    def end(self) -> None:
        """Asks it to end, and sees to it. Idempotent; returns at once."""
        with self._changing:
            if not self._was_ended:
                self._was_ended = True
                self._stop()

    def join(self, timeout: float) -> bool:
        """Whether it has ended within so many seconds."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # its own thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._process = self._spawn()
        except (OSError, ValueError) as error:
            self._failure = error
            return
        finally:
            self._began.set()
        code = -signal.SIGKILL  # so it ends if this thread does not get any further
        try:
            code = self._wait(self._process)
        finally:
            ended = ChildExit(
                code, self._redacted(self._last_words()), self._was_ended, self._is_late, self._ran_out_of_memory()
            )
            try:
                self._on_end(self)
            finally:
                self.exit = ended
                self._on_exit()

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        """Until it has ended, with all that it started, and all that they said was read; its exit status."""
        assert process.stdout is not None
        reader = threading.Thread(target=self._read, args=(process.stdout,), name=f"output-{self.plan.key}")
        reader.daemon = True
        reader.start()
        if self.plan.deadline_seconds is not None:
            self._after(self.plan.deadline_seconds, self._expire)
        # Left unreaped until its whole group is gone: so long its id is nobody else's.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with self._changing:
            self._reaped = True
            for timer in self._timers:
                timer.cancel()
        self._signal(signal.SIGKILL)
        code = process.wait()
        reader.join()
        process.stdout.close()
        return code

    def _spawn(self) -> subprocess.Popen[bytes]:
        # Imported here: an idle agent never needs it.
        import subprocess

        cgroup = str(self.cgroup.directory) if self.cgroup is not None else "-"
        wrapper = (sys.executable, *_SAFE, "-m", "localmodel.agent.child")
        limits = (str(os.getpid()), str(self.plan.memory_bytes), cgroup)
        return subprocess.Popen(
            [*wrapper, *limits, *self._program, self.plan.uri, str(self.plan.destination)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=process_environment(self.plan.env, self.scratch),
            cwd="/",
            pass_fds=(self._lock,),
            start_new_session=True,
        )

    def _ran_out_of_memory(self) -> bool | None:
        try:
            return self.cgroup.has_killed() if self.cgroup is not None else None
        except OSError as error:
            log.warning("a control group cannot be read", storage_key=self.plan.key, error=str(error))
            return None

    def _expire(self) -> None:
        with self._changing:
            if not self._reaped and not self._was_ended:
                self._is_late = True
                self._stop()

    def _stop(self) -> None:
        """The lock is held."""
        if not self._reaped:
            self._signal(signal.SIGTERM)
            self._after(self._grace, self._kill)

    def _kill(self) -> None:
        with self._changing:
            if not self._reaped:
                self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, action)
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    # what it says ------------------------------------------------------------------------------------------------

    def _read(self, output: IO[bytes]) -> None:
        for count, raw in enumerate(iter(lambda: output.readline(_LINE_BYTES), b""), start=1):
            line = self._redacted(raw.decode(errors="replace").strip())
            if line and count <= _MAX_LINES:
                self._tell(line)
            elif count == _MAX_LINES + 1:
                log.warning("a download process says too much; the rest is left out", storage_key=self.plan.key)
            self._note(line)

    def _tell(self, line: str) -> None:
        entry = _parsed(line)
        level = str(entry.pop("level", "info"))
        # Once more: in JSON a secret may have been written in another way.
        said = self._redacted(str(entry.pop("event", line)))
        facts = {
            f"said_{name}": self._redacted(value if isinstance(value, str) else json.dumps(value))
            for name, value in entry.items()
            if name not in ("timestamp", "logger")
        }
        tell = {"warning": log.warning, "error": log.error, "critical": log.error, "debug": log.debug}
        tell.get(level, log.info)("download process", model=self.plan.cache, pid=self.pid, said=said, **facts)

    def _redacted(self, text: str) -> str:
        return redacted(text, self.plan.secrets)

    def _note(self, line: str) -> None:
        entry = _parsed(line)
        if not entry and line:
            self._lines.append(line)
        elif entry.get("level") in ("error", "critical"):
            self._lines.append(str(entry.get("event", "")))

    def _last_words(self) -> str:
        try:
            with (self.scratch / LAST_WORDS).open("rb") as file:
                words = file.read(_MESSAGE_BYTES).decode(errors="replace").strip()
        except FileNotFoundError:
            words = ""
        except OSError as error:
            log.warning("the last words of a download cannot be read", storage_key=self.plan.key, error=str(error))
            words = ""
        return words or "\n".join(self._lines)[-_MESSAGE_BYTES:]


def _parsed(line: str) -> dict[str, Any]:
    """A line of a JSON log; empty for any other."""
    if not line.startswith("{"):
        return {}
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) and "event" in entry else {}


def end_all(children: Iterable[Child], *, patience: float) -> list[Child]:
    """Ends all at once and waits for them; those that have not ended within so many seconds."""
    asked = list(children)
    for child in asked:
        child.end()
    return [child for child in asked if not child.join(patience)]
