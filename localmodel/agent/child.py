"""`python -m localmodel.agent.child PARENT MEMORY CGROUP COMMAND...`: becomes a command that may not harm the agent.

A process between the agent and its download, because the agent has threads, and in a forked copy of such a process
nothing but an exec is safe. It gives up priority, memory and privileges, ties its life to the agent's (process PARENT),
and becomes the command. What the kernel refuses is said and does not stop the download, except that without its agent
it ends: nobody would publish what it brings.

MEMORY is in bytes. Where CGROUP (a directory of control groups, made by `cgroups`) is given, the kernel counts what is
really used; else, with `-`, RLIMIT_DATA limits the private memory that can be written. RLIMIT_AS would count mapped
files and reserved addresses too, of which threads and allocators take hundreds of megabytes that they never touch.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_IOPRIO_SET: Final = {"x86_64": 251, "aarch64": 30, "riscv64": 30, "ppc64le": 273, "s390x": 282}
"""The number of the system call, for which C libraries have no function."""
_WHO_PROCESS: Final = 1
_LAST_OF_BEST_EFFORT: Final = 2 << 13 | 7
"""Not the idle class: where pods read their models all day, that would never write a byte."""
_LOWEST_PRIORITY: Final = 19
_FIRST_TO_DIE: Final = 1000
"""The highest oom_score_adj: where memory runs out for all, a download goes before its agent."""
_PARENT_IS_GONE: Final = 3


def main(argv: Sequence[str]) -> None:
    """Does not return, unless the command cannot be executed: then it raises OSError."""
    parent, memory, cgroup, *command = argv
    in_cgroup = cgroup != "-" and _tried("memory limit", lambda: _enter(cgroup))
    _tried("end with the agent", lambda: _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL))
    if os.getppid() != int(parent):
        sys.exit(_PARENT_IS_GONE)
    _tried("no new privileges", lambda: _prctl(_PR_SET_NO_NEW_PRIVS, 1))
    _tried("first to end without memory", lambda: _write("/proc/self/oom_score_adj", str(_FIRST_TO_DIE)))
    _tried("CPU priority", lambda: os.setpriority(os.PRIO_PROCESS, 0, _LOWEST_PRIORITY))
    _tried("disk priority", _lower_disk_priority)
    _tried("no core dumps", lambda: _limit(resource.RLIMIT_CORE, 0))
    if not in_cgroup:
        _tried("memory limit", lambda: _limit(resource.RLIMIT_DATA, int(memory)))
    os.execv(command[0], command)


def _tried(what: str, change: Callable[[], object]) -> bool:
    try:
        change()
    except (OSError, ValueError) as error:
        line = {"level": "warning", "event": "a download process goes on without one of its limits"}
        sys.stderr.write(json.dumps({**line, "limit": what, "error": str(error)}) + "\n")
        return False
    return True


def _prctl(option: int, value: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _lower_disk_priority() -> None:
    number = _IOPRIO_SET.get(platform.machine())
    if number is None:
        raise OSError(f"not known for {platform.machine()}")
    library = ctypes.CDLL(None, use_errno=True)
    if library.syscall(number, _WHO_PROCESS, 0, _LAST_OF_BEST_EFFORT) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _limit(which: int, amount: int) -> None:
    """Not above what the agent itself may have."""
    hard = resource.getrlimit(which)[1]
    value = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
    resource.setrlimit(which, (value, value))


def _enter(cgroup: str) -> None:
    _write(f"{cgroup}/cgroup.procs", str(os.getpid()))


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:  # noqa: PTH123 - pathlib is an import more before every download
        file.write(text)


if __name__ == "__main__":
    main(sys.argv[1:])
