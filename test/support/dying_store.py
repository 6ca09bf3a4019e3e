"""`python -m support.dying_store DIRECTORY`: plays every scenario once per step in a process of its own, which kills
itself with SIGKILL before that step. Leaves the roots as `DIRECTORY/<scenario>/<step>`, and prints how many there are.

The processes are forks of one that has imported everything: a start of Python for each would take minutes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from localmodel.agent.filesystem import FileSystem

from .storescenarios import SCENARIOS, Scenario

LIMIT = 60


class KillingFileSystem(FileSystem):
    """Ends its process before the n-th step, as the kernel ends one that has no memory left."""

    def __init__(self, kill_before: int) -> None:
        super().__init__()
        self._left = kill_before

    def step(self, name: str, path: Path) -> None:
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)
        self._left -= 1


def kill_at(scenario: Scenario, root: Path, step: int) -> bool:
    """Runs it in a child; whether that was killed before it had done all."""
    child = os.fork()
    if child == 0:
        scenario.run(root, KillingFileSystem(step))
        os._exit(0)  # An error ends the child with its traceback.
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    if os.WEXITSTATUS(status):
        raise SystemExit(f"{scenario.name} failed at step {step}")
    return False


def main(directory: Path) -> int:
    steps = {}
    for scenario in SCENARIOS:
        for step in range(LIMIT):
            root = directory / scenario.name / str(step)
            scenario.prepare(root)
            if not kill_at(scenario, root, step):
                steps[scenario.name] = step
                break
        else:
            raise SystemExit(f"{scenario.name} has more than {LIMIT} steps")
    sys.stdout.write(json.dumps(steps))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
