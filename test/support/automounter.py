"""An automounter that hangs: whoever enters its place waits until it mounts what belongs there, as with a dead server.

Run as a program: `automounter.py DISK PLACE`; it mounts DISK at PLACE once a line comes in on its standard input.
Needs root and a kernel with autofs (its protocol, version 5: Documentation/filesystems/autofs.rst).
"""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_VERSION: Final = 5
_READY: Final = 0x9360
"""AUTOFS_IOC_READY: what the waiters of a token wait for is there."""
_TOKEN: Final = 8
"""Where the token lies in a packet, behind two numbers."""


def why_not() -> str:
    """Why this kernel has none; empty if it has."""
    names = [line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines()]
    return "" if "autofs" in names else "the kernel has no autofs"


@contextmanager
def hanging(disk: Path, place: Path) -> Iterator[None]:
    """Within, whoever enters the place waits; after it they find the disk mounted there."""
    command = [sys.executable, __file__, str(disk), str(place)]
    # In a group of processes of its own, which alone may enter.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"hangs\n"
            yield
        finally:
            process.communicate(timeout=20)
    assert process.returncode == 0


def main(disk: str, place: str) -> None:
    requests, kernels = os.pipe()
    options = f"fd={kernels},pgrp={os.getpgrp()},minproto={_VERSION},maxproto={_VERSION},direct"
    subprocess.run(["mount", "-i", "-t", "autofs", "-o", options, "hanging", place], check=True, pass_fds=(kernels,))
    os.close(kernels)
    mount_point = os.open(place, os.O_RDONLY)
    sys.stdout.write("hangs\n")
    sys.stdout.flush()
    sys.stdin.read()
    subprocess.run(["mount", "--bind", disk, place], check=True)
    os.set_blocking(requests, False)
    try:
        while packet := os.read(requests, 4096):
            fcntl.ioctl(mount_point, _READY, struct.unpack_from("I", packet, _TOKEN)[0])
    except BlockingIOError:
        pass  # All are let in, and nobody else asks: something is mounted now.


if __name__ == "__main__":
    main(*sys.argv[1:])
