"""Downloads under the kernel's own control groups (version 2): where the agent has a group to divide, and where not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import grouped
from support.eventually import eventually

NAME = f"localmodel-test-{os.getpid()}"


def hierarchy() -> Path:
    """Where version 2 is mounted; raises LookupError."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            return Path(before.split(" ")[4])
    raise LookupError


def why_not() -> str:
    """Why no group with a memory limit can be made here; empty if one can."""
    if os.geteuid() != 0:
        return "making control groups needs root"
    try:
        root = hierarchy()
    except LookupError:
        return "no control groups of version 2 are mounted"
    if "memory" not in (root / "cgroup.subtree_control").read_text().split():
        return f"{root} has no memory controller for its groups"
    return "" if os.access(root, os.W_OK) else f"{root} cannot be written"


_WHY_NOT = why_not()
pytestmark = pytest.mark.skipif(bool(_WHY_NOT), reason=_WHY_NOT)
Told = dict[str, Any]


@pytest.fixture
def group() -> Iterator[Path]:
    """A group without processes, as a container's."""
    made = hierarchy() / NAME
    made.mkdir()
    yield made
    eventually(lambda: not (made / "cgroup.procs").read_text())
    for part in (*(path for path in made.iterdir() if path.is_dir()), made):
        part.rmdir()


@contextmanager
def started(group: Path, *command: str | Path) -> Iterator[subprocess.Popen[str]]:
    """The command as a process of the group, which ends with the block."""
    enter = ("sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', group)
    with subprocess.Popen([*enter, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.communicate(timeout=30)


@pytest.fixture
def run(tmp_path: Path, group: Path) -> Callable[[], Told]:
    """Starts the agent in the group; what it told, and in `groups` those that were left while it still ran."""

    def told() -> Told:
        with started(group, sys.executable, grouped.__file__, tmp_path, hierarchy()) as agent:
            assert agent.stdout is not None
            line = json.loads(agent.stdout.readline())
            return {**line, "groups": sorted(path.name for path in group.iterdir() if path.is_dir())}

    return told


def test_a_download_that_takes_too_much_memory_ends_alone_and_the_kernel_says_why(
    group: Path, run: Callable[[], Told]
) -> None:
    told = run()
    assert told["greedy"]["group"].startswith("download-")
    assert told["greedy"]["out_of_memory"] is True
    assert told["greedy"]["code"] == -9
    assert told["own"] == f"/{group.name}/agent", "the agent lives, in its part of its group"


def test_a_download_that_keeps_to_its_memory_is_let_be(run: Callable[[], Told]) -> None:
    told = run()
    assert (told["modest"]["code"], told["modest"]["out_of_memory"]) == (0, False), told["modest"]["message"]


def test_the_group_of_a_download_goes_with_it(run: Callable[[], Told]) -> None:
    assert run()["groups"] == ["agent"]


def test_a_group_with_a_process_that_is_not_the_agents_is_not_divided(group: Path, run: Callable[[], Told]) -> None:
    """Its downloads are limited by RLIMIT_DATA then, and the kernel tells no more than that one failed."""
    with started(group, "cat"):
        told = run()
    assert told["groups"] == []
    assert told["own"] == f"/{group.name}"
    assert (told["greedy"]["group"], told["greedy"]["out_of_memory"]) == (None, None)
    assert "MemoryError" in told["greedy"]["message"]
