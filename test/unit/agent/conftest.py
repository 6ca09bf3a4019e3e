"""The node that most tests of the agent are about."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.agent import World
from support.disks import Disks


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """One node: its agent, its disk and what surrounds them."""
    made = World(tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Disks]:
    """The same with a disk as large as a test says."""
    made = Disks(tmp_path)
    yield made
    made.store.close()
