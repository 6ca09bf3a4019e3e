"""Reading this process's clocks and memory."""

from __future__ import annotations

import json
import math
import threading
import time
import urllib.request
from pathlib import Path

from .case import PER_CPU_SECOND, PER_SECOND

MIB = 1 << 20
DEADLINE = 200.0
"""Seconds for everything that a side waits for."""


class Lap:
    """Wall and CPU time from its making until `rates`."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def rates(self, count: int) -> dict[str, float]:
        """How many of `count` things per second and per second of CPU time."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return {PER_SECOND: count / wall, PER_CPU_SECOND: count / max(cpu, 1e-9)}


class Arrivals:
    """Counts events that a handler has read, by the time the server wrote into each (`objects.SENT`)."""

    def __init__(self, count: int) -> None:
        self._latencies: list[int] = []
        """Nanoseconds from the server's write to the handler."""
        self._count = count
        self._first_sent = 0
        self._cpu_before = self._cpu_after = 0.0
        self._done = threading.Event()
        self._last_read = 0

    def see(self, sent: str) -> bool:
        """Whether that was the last one. The handler calls this after it has read the object."""
        now, then = time.monotonic_ns(), int(sent)
        if not self._latencies:
            self._first_sent, self._cpu_before = then, time.process_time()
        self._latencies.append(now - then)
        if len(self._latencies) < self._count:
            return False
        self._last_read, self._cpu_after = now, time.process_time()
        self._done.set()
        return True

    def wait(self) -> None:
        if not self._done.wait(DEADLINE):
            raise TimeoutError(f"{len(self._latencies)} of {self._count} events arrived")

    def rates(self) -> dict[str, float]:
        """From the server's first write to the end of the last handler call."""
        wall = (self._last_read - self._first_sent) / 1e9
        return {
            PER_SECOND: self._count / wall,
            PER_CPU_SECOND: self._count / max(self._cpu_after - self._cpu_before, 1e-9),
        }

    def latencies(self) -> dict[str, float]:
        """Milliseconds."""
        ordered = sorted(self._latencies)
        return {f"p{share}_ms": ordered[math.ceil(len(ordered) * share / 100) - 1] / 1e6 for share in (50, 99)}


def memory_mib(field: str = "VmRSS") -> float:
    """Resident memory of this process: VmRSS is that of now, VmHWM the highest."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) / 1024
    raise KeyError(field)


def request_events(server: str, plural: str, count: int, rate: int = 0) -> float:
    """Has the stand-in server send events to whoever watches; the seconds that took it."""
    url = f"{server}/benchmark/events?plural={plural}&count={count}&rate={rate}"
    with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
        return float(json.load(answer)["seconds"])
