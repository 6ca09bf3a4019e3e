"""Interrupts: what a program was about to start when Ctrl-C came is not lost."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.sandbox import processes

from localmodel.sandbox.interrupts import held_back, interrupt_on_termination
from localmodel.sandbox.spawn import Spawner
from localmodel.sandbox.supervisor import Program, Supervisor


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    interrupt_on_termination()
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def test_an_interrupt_is_held_back_until_the_end_of_the_block() -> None:
    reached = []

    def start() -> None:
        with held_back():
            with held_back():
                signal.raise_signal(signal.SIGTERM)
                reached.append("inner")
            reached.append("outer")
        reached.append("after")

    with pytest.raises(KeyboardInterrupt):
        start()
    assert reached == ["inner", "outer"]


def test_nothing_is_raised_without_an_interrupt() -> None:
    with held_back():
        pass
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


class InterruptedSpawner(Spawner):
    """Ctrl-C comes while the process is being forked."""

    def spawn(self, *args: object, **kwargs: object) -> subprocess.Popen[bytes]:
        spawn: Callable[..., subprocess.Popen[bytes]] = super().spawn
        process = spawn(*args, **kwargs)
        signal.raise_signal(signal.SIGINT)
        return process


def test_a_program_whose_start_was_interrupted_is_stopped_with_the_others(tmp_path: Path) -> None:
    supervisor = Supervisor(log_directory=tmp_path, spawner=InterruptedSpawner())
    program = Program(name="a", command=("sleep", "61.25"), env={"PATH": os.environ["PATH"]})
    with pytest.raises(KeyboardInterrupt):
        supervisor.start(program)
    (child,) = supervisor.children
    supervisor.stop()
    assert not child.is_running
    assert child.pid not in processes()
