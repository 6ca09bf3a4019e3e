"""`Spawner`: starts child processes that cannot outlive this process, whatever kills it.

Each child asks the kernel for SIGKILL when its parent goes (`launch`). That signal is bound to the *thread* that forked
the child, so all children are forked by one thread, which lives as long as the process. A chain of spawners (a
supervisor whose child is the kubelet, whose children are containers) falls link by link.
Neighbours: `supervisor` keeps programs running; `controllers.kubelet` runs containers.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

_LAUNCH = str(Path(__file__).with_name("launch.py"))


class Spawner:
    """Forks children from one long-lived thread. Safe to use from many threads.

    The thread is a daemon of our own. An executor that is interrupted while it starts its thread forgets the thread,
    and the program waits for it at the end.
    """

    def __init__(self) -> None:
        self._requests: SimpleQueue[_Request] = SimpleQueue()
        thread = threading.Thread(target=_serve, args=(self._requests,), name="spawner", daemon=True)
        thread.start()

    def spawn(
        self, command: Sequence[str], *, env: Mapping[str, str], directory: Path, output: Path | int
    ) -> subprocess.Popen[bytes]:
        """Starts `command` in a session of its own; raises OSError.

        Both its streams go to `output`: appended to a file, or to an open file descriptor. A program that cannot be
        found exits with status 127 and says so there.
        """
        request = _Request(partial(self._spawn, command, env, directory, output), Future())
        self._requests.put(request)
        return request.answer.result()

    @staticmethod
    def _spawn(
        command: Sequence[str], env: Mapping[str, str], directory: Path, output: Path | int
    ) -> subprocess.Popen[bytes]:
        with output.open("ab") if isinstance(output, Path) else contextlib.nullcontext(output) as stdout:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", _LAUNCH, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=directory,
                start_new_session=True,
            )


class _Request(NamedTuple):
    start: Callable[[], subprocess.Popen[bytes]]
    answer: Future[subprocess.Popen[bytes]]


def _serve(requests: SimpleQueue[_Request]) -> None:
    while True:
        request = requests.get()
        try:
            request.answer.set_result(request.start())
        except Exception as error:  # noqa: BLE001 - handed to the caller
            request.answer.set_exception(error)
        del request  # the last process must not be kept by this thread


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
