"""Kill -9 of agent and download at moments that chance chooses: what lies there afterwards is whole in the end.

The agent is a process of its own that does what `ChildRuns` does: it starts the download of a key as soon as no earlier
one writes any more. The hub is slow enough for every moment to be in the middle of something.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.sandbox import processes

from localmodel.download.clock import SystemClock
from localmodel.download.manifest import Manifest, manifest_path
from localmodel.download.throttle import Throttle
from localmodel.sandbox.demo_model import Model, synthetic_model
from localmodel.sandbox.hub import HubServer

KEY = "0123456789abcdef"
SIZE = 8 << 20
KILLS = 6
AGENT = """
import sys, threading
from pathlib import Path
from localmodel.agent.children import Children
from localmodel.agent.childplan import ChildPlan
from localmodel.agent.errors import EarlierDownloadError
from localmodel.agent.scratch import Scratch
base, endpoint = Path(sys.argv[1]), sys.argv[2]
children, changed = Children(base / "notes", Scratch(base)), threading.Semaphore(0)
children.on_change = changed.release
plan = ChildPlan(key=sys.argv[3], attempt=1, uri="hf://org/model", destination=base / "staging", cache="iris",
                 memory_bytes=1 << 28, env={"HF_ENDPOINT": endpoint, "HF_TOKEN": "hf_token"})
while True:
    try:
        child = children.start(plan)
        break
    except EarlierDownloadError:
        changed.acquire()
while child.exit is None:
    changed.acquire()
sys.exit(0 if child.exit.code == 0 else 1)
"""


def start(base: Path, endpoint: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", AGENT, str(base), endpoint, KEY], stdout=subprocess.DEVNULL)


def downloads(base: Path) -> list[int]:
    staging = str(base / "staging")
    return [
        pid for pid, command in processes().items() if command.endswith(staging) and "localmodel.download" in command
    ]


@pytest.mark.parametrize("seed", [1, 2])
def test_whoever_is_killed_when_ever_the_model_is_whole_in_the_end(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    model = Model.of(synthetic_model(tmp_path / "source", SIZE))
    base = tmp_path / "node"
    (base / "notes").mkdir(parents=True)
    (base / "staging").mkdir()
    with HubServer({"org/model": model.directory}, token="hf_token") as hub:
        hub.throttle = Throttle(bytes_per_second=SIZE // 4, clock=SystemClock())
        for _ in range(KILLS):
            agent = start(base, hub.url)
            threading.Event().wait(chance.uniform(0.1, 2.0))
            victims = [agent.pid] if chance.random() < 0.5 else downloads(base) or [agent.pid]
            for pid in victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            agent.wait(30)
            assert len(downloads(base)) <= 1
        hub.throttle = Throttle(bytes_per_second=0, clock=SystemClock())
        assert start(base, hub.url).wait(60) == 0
    assert Manifest.read(manifest_path(base / "staging")).total_size >= SIZE
    assert model.differences(base / "staging") == []
    assert downloads(base) == []
