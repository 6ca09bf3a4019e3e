"""Events from outside the cluster: a Folder tells in its status how many files are in a directory of this machine.

Kubernetes does not know of files. A runnable of the manager looks at the directories and sends an event for each that
changed through a channel; the reconciler then looks for itself, as always. What the runnable might miss is found by
`requeue_after`: an event is a hint, never the truth.

    python examples/04_outside_events.py --root /tmp/folders --log-format console
"""

from __future__ import annotations

import argparse
import threading
from pathlib import Path

from pydantic import Field

from localmodel.runtime import (
    Builder,
    Channel,
    EnqueueRequestForObject,
    LiveClient,
    Manager,
    Object,
    ObjectMeta,
    Reconciler,
    Request,
    RESTMapping,
    Result,
    load_config,
    setup_logging,
    setup_signal_handler,
)
from localmodel.runtime.clock import Clock, RealClock
from localmodel.runtime.event import GenericEvent
from localmodel.runtime.flags import add_common_flags
from localmodel.runtime.objects import Model

SAFETY_NET = 600.0


class FolderStatus(Model):
    files: int | None = None
    """None: not looked at yet."""


class Folder(Object):
    """Its directory is ROOT/NAMESPACE/NAME."""

    mapping = RESTMapping.of("example.com", "v1", "Folder")
    status: FolderStatus = Field(default_factory=FolderStatus)


class DirectoryWatch:
    """A `Runnable`: `start` blocks until it is told to stop. What it raises ends the manager."""

    def __init__(self, root: Path, channel: Channel, *, interval: float = 1.0, clock: Clock | None = None) -> None:
        self._root, self._channel, self._interval = root, channel, interval
        self._clock = clock or RealClock()

    def start(self, stop: threading.Event) -> None:
        known: dict[Path, int] = {}
        while not self._clock.wait_event(stop, self._interval):
            try:
                found = {path: path.stat().st_mtime_ns for path in self._root.glob("*/*")}
            except FileNotFoundError:
                continue  # it went while we looked, and the next look will see that
            for path, _ in found.items() ^ known.items():
                meta = ObjectMeta(namespace=path.parent.name, name=path.name)
                self._channel.send(GenericEvent(Folder(metadata=meta)))  # waits while the buffer is full
            known = found


class FolderReconciler(Reconciler):
    def __init__(self, root: Path, channel: Channel) -> None:
        self._root, self._channel = root, channel

    def setup(self, builder: Builder) -> None:
        builder.for_(Folder).watches_source(self._channel)

    def reconcile(self, request: Request) -> Result | None:
        folder = self.client.find(Folder, request.name, namespace=request.namespace)
        if folder is None or folder.is_deleting:
            return None  # a directory without a Folder concerns nobody
        directory = self._root / folder.namespace / folder.name
        files = sum(1 for path in directory.glob("*") if path.is_file())
        if files != folder.status.files:
            folder.status.files = files
            self.client.status.update(folder)
        return Result(requeue_after=SAFETY_NET)


def add_to(manager: Manager, root: Path, *, clock: Clock | None = None) -> None:
    channel = Channel(EnqueueRequestForObject(), name="directories")
    manager.add_reconciler(FolderReconciler(root, channel))
    manager.add(DirectoryWatch(root, channel, clock=clock))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="where the directories are")
    add_common_flags(parser)
    arguments = parser.parse_args()
    setup_logging(arguments.log_level, arguments.log_format)

    manager = Manager(LiveClient(load_config(arguments.kubeconfig, user_agent="folders")))
    add_to(manager, arguments.root)
    manager.start(setup_signal_handler())


if __name__ == "__main__":
    main()
