"""Writing files so that a reader, or a machine that starts again after a power cut, sees all of it or none."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomically(path: Path, data: bytes, *, durable: bool) -> None:
    """Replaces the file at `path` by one that holds `data`. `durable` also forces file and directory to the disk.

    The temporary file stands beside it under a fixed name: each of our files has one writer, and a name of its own per
    write would leave litter behind every kill.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)
    if durable:
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Forces the entries of the directory at `path` to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
