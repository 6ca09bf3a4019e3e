"""Reading one's own writes: every Gate gets a port out of a pool, and no port is given to two Gates.

Reads come from a cache that a watch fills, milliseconds behind the server. Whoever gives a port, and looks at the cache
for the next one before the first is in it, gives it again. With `read_your_writes` a read waits for what this process
has written. What that cannot know of is remembered here: a write whose answer was lost, and what the leader before
this one wrote.

    python examples/08_own_writes.py --first 30000 --last 30999 --log-format console
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Sequence

from pydantic import Field

from localmodel.runtime import (
    Builder,
    ControllerOptions,
    LiveClient,
    Manager,
    ManagerOptions,
    Object,
    Reconciler,
    Request,
    RESTMapping,
    Result,
    load_config,
    setup_logging,
    setup_signal_handler,
)
from localmodel.runtime.flags import add_common_flags
from localmodel.runtime.objects import Model

OPTIONS = ManagerOptions(read_your_writes=True, controller=ControllerOptions(workers=4))


class GateStatus(Model):
    port: int = 0


class Gate(Object):
    mapping = RESTMapping.of("example.com", "v1", "Gate")
    status: GateStatus = Field(default_factory=GateStatus)


class GateReconciler(Reconciler):
    def __init__(self, pool: Sequence[int]) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        """One worker gives ports at a time: a read waits for writes that were answered, not for those under way."""
        self._caught_up = False
        self._promised: dict[Request, int] = {}
        """Ports of writes without an answer: they may have happened."""

    def setup(self, builder: Builder) -> None:
        builder.for_(Gate)

    def reconcile(self, request: Request) -> Result | None:
        with self._lock:
            gate = self.client.find(Gate, request.name, namespace=request.namespace)
            if gate is None or gate.status.port:
                self._promised.pop(request, None)
                return None
            self._catch_up()
            port = self._promised.get(request) or self._free_port()
            if not port:
                self.recorder.event(gate, "Warning", "NoPort", "every port of the pool is taken")
                return Result(requeue=True)
            self._promised[request] = port
            gate.status.port = port
            self.client.status.update(gate)
            del self._promised[request]
            return None

    def _free_port(self) -> int:
        taken = {gate.status.port for gate in self.client.list(Gate)} | set(self._promised.values())
        return next((port for port in self._pool if port not in taken), 0)

    def _catch_up(self) -> None:
        """The first list of a cache may be older than the last writes of the leader before."""
        if not self._caught_up:
            for gate in self.live.list(Gate):
                self.client.wait_until_seen(gate)
            self._caught_up = True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=30000, help="first port of the pool (default: %(default)s)")
    parser.add_argument("--last", type=int, default=30999, help="last port of the pool (default: %(default)s)")
    add_common_flags(parser)
    arguments = parser.parse_args()
    setup_logging(arguments.log_level, arguments.log_format)

    manager = Manager(LiveClient(load_config(arguments.kubeconfig, user_agent="gates")), OPTIONS)
    manager.add_reconciler(GateReconciler(range(arguments.first, arguments.last + 1)))
    manager.start(setup_signal_handler())


if __name__ == "__main__":
    main()
