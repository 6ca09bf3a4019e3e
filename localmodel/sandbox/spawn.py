"""`Spawner`: starts child processes that cannot outlive this process, whatever kills it.

Each child asks the kernel for SIGKILL when its parent goes (`launch`). That signal is bound to the *thread* that forked
the child, so all children are forked by one thread, which lives as long as the spawner. A chain of spawners (a
supervisor whose child is the kubelet, whose children are containers) falls link by link.
Neighbours: `supervisor` keeps programs running; `controllers.kubelet` runs containers.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_LAUNCH = str(Path(__file__).with_name("launch.py"))


class Spawner:
    """Forks children from one long-lived thread. Safe to use from many threads."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")

    def spawn(
        self, command: Sequence[str], *, env: Mapping[str, str], directory: Path, log: Path
    ) -> subprocess.Popen[bytes]:
        """Starts `command` in a session of its own, its output appended to `log`; raises OSError.

        A program that cannot be found exits with status 127 and says so in the log.
        """
        return self._executor.submit(self._spawn, command, env, directory, log).result()

    @staticmethod
    def _spawn(command: Sequence[str], env: Mapping[str, str], directory: Path, log: Path) -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", _LAUNCH, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=directory,
                start_new_session=True,
            )


def signal_group(process: subprocess.Popen[bytes], signum: signal.Signals) -> None:
    """Signals a spawned process and what it started in its session; nothing if it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signum)


def stop_process(process: subprocess.Popen[bytes], *, grace: float) -> int:
    """SIGTERM, at most `grace` seconds, then SIGKILL to the whole session; the exit status as Popen gives it."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    signal_group(process, signal.SIGKILL)
    return process.wait()
