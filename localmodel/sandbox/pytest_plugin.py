"""Fixtures for tests of reconcilers, in every pytest run of an environment that has localmodel installed.

`fake_client` for unit tests without threads, `manager` for the watches and workers around them, `api_server` for tests
over HTTP. A fixture of the same name in a conftest.py takes their place. What they need is imported when they are used.

`api_server` is the embedded one unless the environment names another (`controlplane.choice`). A test that not every
API server can run says so by a mark, and is skipped with its reason: `@pytest.mark.embedded_only("ends watches")`, or
`@pytest.mark.own_server("its nodes would be the cluster's")` for one that must not touch somebody's cluster.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from localmodel.runtime.client import Client
    from localmodel.runtime.manager_options import ManagerOptions
    from localmodel.runtime.testing import FakeClient, FakeClock
    from localmodel.runtime.testing.background import BackgroundManager

    from .envtest import Environment


EMBEDDED_ONLY = "embedded_only"
OWN_SERVER = "own_server"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{EMBEDDED_ONLY}(why): runs on the embedded API server only")
    config.addinivalue_line("markers", f"{OWN_SERVER}(why): does not run on a cluster that was there before")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what cannot run on the API server that the environment names."""
    existing = os.environ.get("LOCALMODEL_TEST_KUBECONFIG")
    if not existing and not os.environ.get("KUBEBUILDER_ASSETS"):
        return
    for mark, applies in ((EMBEDDED_ONLY, True), (OWN_SERVER, bool(existing))):
        found = item.get_closest_marker(mark)
        if found is not None and applies:
            if not found.args:
                pytest.fail(f"the mark {mark} needs a reason: @pytest.mark.{mark}('why')")
            pytest.skip(f"{mark}: {found.args[0]}")


@pytest.fixture
def fake_clock() -> FakeClock:
    """A clock that moves when the test moves it: `fake_clock.advance(seconds)`."""
    from localmodel.runtime.testing import FakeClock

    return FakeClock()


@pytest.fixture
def fake_client(fake_clock: FakeClock) -> FakeClient:
    """An empty API server in memory, on `fake_clock`."""
    from localmodel.runtime.testing import FakeClient

    return FakeClient(clock=fake_clock)


@pytest.fixture
def api_server() -> Iterator[Environment]:
    """An API server over HTTPS, the embedded one by default; needs `localmodel[sandbox]`."""
    from .envtest import Environment

    with Environment() as environment:
        yield environment


@pytest.fixture
def manager_client(fake_client: FakeClient) -> Client:
    """What `manager` works on. Override it to return `api_server.client()` for a run over HTTP."""
    return fake_client


@pytest.fixture
def manager_options() -> ManagerOptions:
    """Those of `manager`: no HTTP servers. Override it with `dataclasses.replace(QUIET, ...)`."""
    from localmodel.runtime.testing import QUIET

    return QUIET


@pytest.fixture
def manager(manager_client: Client, manager_options: ManagerOptions) -> Iterator[BackgroundManager]:
    """A manager on `manager_client` with `manager_options`: add reconcilers, then `manager.run()`.

    It is stopped at the end of the test, which fails if the manager failed or leaves a thread behind.
    """
    from localmodel.runtime.testing.background import BackgroundManager
    from localmodel.runtime.testing.waiting import eventually

    before = set(threading.enumerate())
    manager = BackgroundManager(manager_client, manager_options)
    yield manager
    manager.end()
    left = f"threads are left after the manager's end: {[t.name for t in set(threading.enumerate()) - before]}"
    eventually(lambda: set(threading.enumerate()) <= before, message=left)
