"""Runs sides: each in a fresh process, beside one server process for the whole case."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from .case import Case, Context, Pace, Round

SIDE_TIMEOUT = 1200.0
_TEST = Path(__file__).parents[1]
_ENVIRONMENT = os.environ | {"PYTHONPATH": f"{_TEST.parent}{os.pathsep}{_TEST}"}
"""What lies beside it is measured, whatever is installed."""


class SideError(Exception):
    """The process of a side failed; the message has what it wrote."""


def run_case(case: Case, *, pace: Pace, rounds: int) -> list[Round]:
    """Every side once in each round, in turns. Raises SideError."""
    size = case.size.of(pace)
    with server_for(case, size) as url:
        most = rounds if case.rounds is None else min(rounds, case.rounds)
        return [{name: run_side(side, url, size) for name, side in case.sides.items()} for _ in range(most)]


def run_side(side: str, url: str, size: int) -> dict[str, float]:
    """Raises SideError."""
    context = Context(server=url, size=size, started=time.monotonic())
    done = subprocess.run(
        [sys.executable, "-m", "benchmark.side", side],
        input=msgspec.json.encode(context),
        capture_output=True,
        env=_ENVIRONMENT,
        timeout=SIDE_TIMEOUT,
        check=False,
    )
    if done.returncode:
        raise SideError(f"the side {side} failed:\n{done.stderr.decode()[-4000:]}")
    numbers: dict[str, float] = msgspec.json.decode(done.stdout)
    return numbers


@contextmanager
def server_for(case: Case, size: int) -> Iterator[str]:
    """The base URL of a server that holds what the case needs."""
    if not case.server:
        yield ""
        return
    options = [f"--{name}={size if count is None else count}" for name, count in case.server.items()]
    with subprocess.Popen(
        [sys.executable, "-m", "benchmark.server", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=_ENVIRONMENT,
    ) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()
