"""An agent's download processes in a control group of its own, as a program: `grouped.py DIRECTORY HIERARCHY`.

It starts two that may have 64 MiB each: `greedy` takes twice as much, `modest` a quarter and reserves addresses without
end. Prints as JSON how each ended, and where this process is; ends when its standard input does.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Final

import structlog

from localmodel.agent.cgroups import MemoryGroups
from localmodel.agent.childplan import ChildPlan
from localmodel.agent.children import Children
from localmodel.agent.scratch import Scratch

LIMIT: Final = 64 << 20
PROGRAM: Final = """
import mmap, sys
reserved = mmap.mmap(-1, 1 << 30, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
taken = b"x" * ({"greedy": 128, "modest": 16}[sys.argv[1]] << 20)
"""


def main(directory: Path, hierarchy: Path) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    ended = threading.Semaphore(0)
    (directory / "notes").mkdir()
    children = Children(
        directory / "notes",
        Scratch(directory),
        groups=MemoryGroups(root=hierarchy),
        program=(sys.executable, "-c", PROGRAM),
    )
    children.on_change = ended.release
    told = {}
    for number, name in enumerate(("greedy", "modest")):
        plan = ChildPlan(
            key=f"{number:016}", attempt=1, uri=name, destination=directory, cache=name, memory_bytes=LIMIT
        )
        child = children.start(plan)
        while child.exit is None:
            ended.acquire()
        told[name] = {
            "code": child.exit.code,
            "out_of_memory": child.exit.out_of_memory,
            "message": child.exit.message,
            "group": child.cgroup.directory.name if child.cgroup else None,
        }
    own = [line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
    print(json.dumps({**told, "own": own[0].removeprefix("0::")}), flush=True)  # noqa: T201 - to who started it
    sys.stdin.read()
    children.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
