"""Fixtures of the tests that have a whole simulated cluster, each module's own `cluster`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.gate import Gate
from support.sandbox import Sandbox


@pytest.fixture
def gate(cluster: Sandbox) -> Iterator[Gate]:
    """Open at first; see `support.held`."""
    gate = cluster.hub.throttle = Gate()
    yield gate
    gate.open()
