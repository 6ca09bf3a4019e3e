"""Which API server tests run on, by the environment.

- `LOCALMODEL_TEST_KUBECONFIG`: the cluster of this kubeconfig;
- `KUBEBUILDER_ASSETS`: the etcd and kube-apiserver in this directory, with `KUBEBUILDER_CONTROLPLANE_START_TIMEOUT`
  ("60s") instead of 20 seconds to start, as for controller-runtime;
- neither: the embedded one.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Mapping
from pathlib import Path

from .base import ControlPlane, ControlPlaneError
from .embedded import EmbeddedControlPlane

ASSETS = "KUBEBUILDER_ASSETS"
TIMEOUT = "KUBEBUILDER_CONTROLPLANE_START_TIMEOUT"
KUBECONFIG = "LOCALMODEL_TEST_KUBECONFIG"


def is_embedded(environment: Mapping[str, str]) -> bool:
    return not (environment.get(KUBECONFIG) or environment.get(ASSETS))


def choose(environment: Mapping[str, str], *, audit: bool = False) -> ControlPlane:
    """One that was not started. `audit`: it shall tell what it was asked, if it can. Raises ControlPlaneError."""
    kubeconfig, assets = environment.get(KUBECONFIG), environment.get(ASSETS)
    if kubeconfig and assets:
        raise ControlPlaneError(f"both {KUBECONFIG} and {ASSETS} name an API server for the tests: unset one of them")
    if kubeconfig:
        from .existing import ExistingCluster

        return ExistingCluster(Path(kubeconfig))
    if assets:
        from .binaries import START_TIMEOUT, BinaryControlPlane, start_timeout

        try:
            seconds = start_timeout(environment[TIMEOUT]) if environment.get(TIMEOUT) else START_TIMEOUT
        except ValueError as error:
            raise ControlPlaneError(f"{TIMEOUT}: {error}") from error
        return BinaryControlPlane(Path(assets), start_timeout=seconds)
    return EmbeddedControlPlane(audit=audit)


class Shared:
    """The control plane that all tests of this process have, where it is one to be shared; stopped at its end."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: ControlPlane | None = None
        self._failure: ControlPlaneError | None = None
        """Why it could not be started; the next test shall not wait for that again."""

    def started(self, control_plane: ControlPlane) -> ControlPlane:
        """The one that runs, else this one, started. Raises ControlPlaneError."""
        with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._running is None:
                try:
                    control_plane.start()
                except ControlPlaneError as error:
                    self._failure = error
                    raise
                self._running = control_plane
                atexit.register(control_plane.stop)
            return self._running


SHARED = Shared()
