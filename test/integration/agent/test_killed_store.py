"""Real processes that work on a models root and are killed with SIGKILL at every step of all that a store does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.storescenarios import SCENARIOS, Scenario


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """Where the killed processes have left their roots, and how many of each scenario."""
    directory = tmp_path_factory.mktemp("killed-store")
    command = [sys.executable, "-m", "support.dying_store", str(directory)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return directory, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda it: it.name)
def test_a_process_killed_at_any_step_leaves_a_whole_model_or_none(
    roots: tuple[Path, dict[str, int]], scenario: Scenario
) -> None:
    directory, steps = roots
    assert steps[scenario.name] > 2
    for step in range(steps[scenario.name] + 1):
        scenario.inspect(directory / scenario.name / str(step))
