"""`PodAddresses`: an address of its own for each pod, of the loopback network, so that equal ports do not clash.

The pods of node number N are 127.(64 + N div 256).(N mod 256).1 to .254; on Linux all of 127.0.0.0/8 is this machine.
A pod on the host's network has the node's address.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from localmodel.runtime.errors import RuntimeLibraryError

HOST_IP = "127.0.0.1"
_PER_NODE = 254


class NoAddressLeftError(RuntimeLibraryError):
    """A node has as many pods as it has addresses."""


class PodAddresses:
    """Gives addresses and takes them back. Thread-safe."""

    def __init__(self, nodes: Sequence[str]) -> None:
        self._prefixes = {node: f"127.{64 + number // 256}.{number % 256}." for number, node in enumerate(nodes)}
        self._lock = threading.Lock()
        self._owners: dict[str, str] = {}
        """Address -> uid of the pod that has it."""
        self._next = dict.fromkeys(nodes, 1)

    def assign(self, node: str, uid: str, *, known: str = "") -> str:
        """The pod's address; the one that its status has, if that is free. Raises NoAddressLeftError."""
        prefix = self._prefixes[node]
        with self._lock:
            if known.startswith(prefix) and self._owners.setdefault(known, uid) == uid:
                return known
            for _ in range(_PER_NODE):
                address = f"{prefix}{self._next[node]}"
                self._next[node] = self._next[node] % _PER_NODE + 1
                if address not in self._owners:
                    self._owners[address] = uid
                    return address
        raise NoAddressLeftError(f"node {node} has no address left for another pod")

    def release(self, address: str, uid: str) -> None:
        """Idempotent."""
        with self._lock:
            if self._owners.get(address) == uid:
                del self._owners[address]
