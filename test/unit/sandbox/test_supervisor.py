"""The supervisor's promises, with real child processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from localmodel.sandbox.spawn import Spawner, stop_process
from localmodel.sandbox.supervisor import Child, Program, Supervisor, ending

ENV = {"PATH": os.environ["PATH"]}


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie that nobody collects yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def sleeper(name: str) -> Program:
    return Program(name=name, command=("sleep", "60"), env=ENV)


def test_a_program_that_dies_is_started_again(tmp_path: Path) -> None:
    with Supervisor(log_directory=tmp_path) as supervisor:
        child = supervisor.start(sleeper("a"))
        first = child.pid
        os.kill(first, signal.SIGKILL)
        assert eventually(lambda: child.restarts == 1 and child.is_running)
        assert child.pid != first


def test_a_restart_is_told_with_how_the_program_ended(tmp_path: Path) -> None:
    told: list[tuple[str, int, bool]] = []

    def observe(child: Child, code: int) -> None:
        told.append((child.program.name, code, child.is_running))

    with Supervisor(log_directory=tmp_path, on_restart=observe) as supervisor:
        os.kill(supervisor.start(sleeper("a")).pid, signal.SIGKILL)
        assert eventually(lambda: told == [("a", -signal.SIGKILL, True)])


@pytest.mark.parametrize(
    ("code", "text"),
    [(0, "exited with status 0"), (3, "exited with status 3"), (-9, "was killed by SIGKILL"), (-99, "by signal 99")],
)
def test_an_exit_status_is_told_in_words(code: int, text: str) -> None:
    assert text in ending(code)


def test_stop_ends_every_program_last_first(tmp_path: Path) -> None:
    order = tmp_path / "order"
    script = f"trap 'echo $0 >> {order}; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    supervisor = Supervisor(log_directory=tmp_path)
    for name in ("first", "second"):
        child = supervisor.start(Program(name=name, command=("sh", "-c", script, name), env=ENV))
        assert eventually(lambda log=child.log: "ready" in log.read_text())  # type: ignore[misc]
    children = supervisor.children
    supervisor.stop()
    assert order.read_text().split() == ["second", "first"]
    assert not any(child.is_running for child in children)


def test_a_program_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    supervisor = Supervisor(log_directory=tmp_path)
    command = ("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done")
    child = supervisor.start(Program(name="stubborn", command=command, env=ENV, grace=0.2))
    assert eventually(lambda: "ready" in child.log.read_text())
    supervisor.stop()
    assert not child.is_running


def test_stop_while_waiting_to_start_again_starts_nothing(tmp_path: Path) -> None:
    supervisor = Supervisor(log_directory=tmp_path)
    child = supervisor.start(Program(name="short", command=("true",), env=ENV))
    assert eventually(lambda: not child.is_running)
    supervisor.stop()
    assert not child.is_running


def test_output_goes_to_the_programs_log(tmp_path: Path) -> None:
    with Supervisor(log_directory=tmp_path) as supervisor:
        child = supervisor.start(Program(name="talker", command=("sh", "-c", "echo said; sleep 60"), env=ENV))
        assert eventually(lambda: child.log.read_text() == "said\n")
        assert child.log == tmp_path / "talker.log"


def test_a_missing_program_exits_127_and_says_so(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = Spawner().spawn(["no-such-program"], env=ENV, directory=tmp_path, output=log)
    assert process.wait(10) == 127
    assert "cannot run no-such-program" in log.read_text()


def test_sigpipe_is_not_ignored_by_a_spawned_program(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = Spawner().spawn(["grep", "SigIgn", "/proc/self/status"], env=ENV, directory=tmp_path, output=log)
    assert process.wait(10) == 0
    assert int(log.read_text().split()[1], 16) & (1 << (signal.SIGPIPE - 1)) == 0


PARENT = """
import pathlib, sys, threading
from localmodel.sandbox.spawn import Spawner
spawner, here = Spawner(), pathlib.Path(sys.argv[1])
def start():
    depth = int(sys.argv[2])
    command = ["sleep", "60"] if depth == 0 else [sys.executable, sys.argv[0], str(here), str(depth - 1)]
    process = spawner.spawn(command, env={"PATH": "/usr/bin:/bin"}, directory=here, output=here / f"log-{depth}")
    (here / f"pid-{depth}").write_text(str(process.pid))
thread = threading.Thread(target=start)
thread.start()
thread.join()
threading.Event().wait()
"""


def test_children_and_grandchildren_die_with_a_killed_parent(tmp_path: Path) -> None:
    """The child is started by a thread that ends at once, which must not end the child."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, str(script), str(tmp_path), "1"])
    try:
        files = [tmp_path / "pid-1", tmp_path / "pid-0"]
        assert eventually(lambda: all(file.exists() and file.read_text() for file in files))
        pids = [int(file.read_text()) for file in files]
        assert all(alive(pid) for pid in pids)
    finally:
        parent.kill()
        parent.wait()
    assert eventually(lambda: not any(alive(pid) for pid in pids))


def test_stop_process_reports_the_exit_status(tmp_path: Path) -> None:
    process = Spawner().spawn(["sleep", "60"], env=ENV, directory=tmp_path, output=tmp_path / "log")
    assert stop_process(process, grace=5) == -signal.SIGTERM


def test_two_programs_of_one_name_are_refused(tmp_path: Path) -> None:
    with Supervisor(log_directory=tmp_path) as supervisor:
        supervisor.start(sleeper("a"))
        with pytest.raises(ValueError, match="already supervised"):
            supervisor.start(sleeper("a"))


INTERRUPTED = """
import signal, sys, threading
from localmodel.sandbox.spawn import Spawner
start = threading.Thread.start
def interrupted(thread):
    start(thread)
    raise KeyboardInterrupt
threading.Thread.start = interrupted
Spawner().spawn(["sleep", "60"], env={}, directory=None, output=None)
"""


def test_an_interrupt_while_a_spawner_starts_lets_the_program_end() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, timeout=20, check=False)
    assert b"KeyboardInterrupt" in done.stderr
