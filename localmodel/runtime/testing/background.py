"""`BackgroundManager`: a manager that runs in a thread while a test looks on.

A unit test of a reconciler needs no manager: call `reconcile`. This is for tests of watches, of several controllers
together, and of what happens when a watch breaks.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from localmodel.runtime.cache import CacheOptions
from localmodel.runtime.client import Client
from localmodel.runtime.clock import Clock
from localmodel.runtime.manager import Manager
from localmodel.runtime.manager_options import ManagerOptions
from localmodel.runtime.metrics import Metrics

from .waiting import eventually

QUIET = ManagerOptions(metrics_addr="0", health_probe_addr="0", cache=CacheOptions(tune_collector=False))
"""No HTTP servers, and the process's garbage collector left alone."""


class BackgroundManager(Manager):
    """`run` and `end`, or a with statement, in place of `start`."""

    def __init__(
        self,
        client: Client,
        options: ManagerOptions = QUIET,
        *,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """With metrics of its own if none are given: each test counts from zero."""
        super().__init__(client, options, clock=clock, metrics=metrics or Metrics())
        self._ending = threading.Event()
        self._raised: BaseException | None = None
        self._runner = threading.Thread(target=self._run, name="background-manager", daemon=True)

    def run(self, timeout: float = 10.0) -> None:
        """Starts the manager and returns once its cache has synced; raises what `start` raised, or AssertionError."""
        self._runner.start()
        eventually(
            lambda: self._cache_synced or not self._runner.is_alive(),
            timeout=timeout,
            message=f"the manager is not ready after {timeout} s: {self.cache.waiting_for()}",
        )
        if not self._runner.is_alive():
            self.end()

    def end(self, timeout: float = 30.0) -> None:
        """Stops the manager; raises what `start` raised, and AssertionError if it does not end. Idempotent."""
        self._ending.set()
        if self._runner.ident is None:
            self.close()
            return
        self._runner.join(timeout)
        if self._runner.is_alive():
            raise AssertionError(f"the manager did not end within {timeout} s")
        raised, self._raised = self._raised, None
        if raised is not None:
            raise raised

    def __enter__(self) -> Self:
        self.run()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def _run(self) -> None:
        try:
            self.start(self._ending)
        except BaseException as error:  # noqa: BLE001 - raised by `run` or `end`
            self._raised = error
