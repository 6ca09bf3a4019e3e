"""Control groups of downloads, on directories that look like the kernel's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localmodel.agent.cgroups import MemoryGroup, MemoryGroups


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The agent's own group, which it may divide."""
    group = tmp_path / "pod" / "container"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max")
    (group / "cgroup.procs").write_text(f"{os.getpid()}\n")
    return group


def groups(tmp_path: Path, lines: str = "0::/pod/container\n") -> MemoryGroups:
    (tmp_path / "self").write_text(lines)
    return MemoryGroups(root=tmp_path, own=tmp_path / "self")


def test_a_download_gets_a_group_with_its_limit(tmp_path: Path, own: Path) -> None:
    made = groups(tmp_path).make("key", 64 << 20)
    assert made is not None
    assert made.directory == own / "download-key"
    assert (made.directory / "memory.max").read_text() == str(64 << 20)
    assert (made.directory / "memory.oom.group").read_text() == "1"
    assert (own / "agent" / "cgroup.procs").read_text() == str(os.getpid())
    assert (own / "cgroup.subtree_control").read_text() == "+memory"


def test_an_agent_that_is_started_again_in_its_part_divides_the_same_group(tmp_path: Path, own: Path) -> None:
    assert groups(tmp_path).make("one", 1) is not None
    (own / "cgroup.procs").write_text("")
    made = groups(tmp_path, "1:name=systemd:/\n0::/pod/container/agent\n").make("two", 1)
    assert made is not None
    assert made.directory == own / "download-two"


def test_a_group_with_other_processes_is_left_alone(tmp_path: Path, own: Path) -> None:
    (own / "cgroup.procs").write_text(f"{os.getpid()}\n1\n")
    assert groups(tmp_path).make("key", 1) is None
    assert not (own / "agent").exists()


def test_the_machines_root_group_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "cgroup.procs").write_text(f"{os.getpid()}\n")
    assert groups(tmp_path, "0::/\n").make("key", 1) is None


def test_without_control_groups_there_are_none(tmp_path: Path) -> None:
    assert groups(tmp_path, "4:memory:/\n").make("key", 1) is None
    assert MemoryGroups(root=tmp_path, own=tmp_path / "none").make("key", 1) is None


@pytest.mark.parametrize(("events", "killed"), [("oom 1\noom_kill 0\n", False), ("oom_kill 2\n", True), ("", False)])
def test_the_kernel_says_whether_it_ended_a_process(tmp_path: Path, events: str, killed: bool) -> None:
    (tmp_path / "memory.events").write_text(events)
    assert MemoryGroup(tmp_path).has_killed() is killed
