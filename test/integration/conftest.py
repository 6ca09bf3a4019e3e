"""A fresh API server in this process for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.live import Live

from localmodel.runtime.rest import LiveClient


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    live = Live(tmp_path)
    yield live
    live.stop()


@pytest.fixture
def client(live: Live) -> LiveClient:
    return live.client()
