"""Counts, bytes, speeds and paths as the sandbox shows them to a person: one unit family, MiB and MiB/s, everywhere."""

from __future__ import annotations

from pathlib import Path

MIB = 2**20


def counted(number: int, noun: str) -> str:
    """`1 node`, `3 nodes`; for nouns with a regular plural."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def mebibytes(size: int) -> str:
    """A number of bytes: `87.4 MiB`."""
    return f"{size / MIB:.1f} MiB"


def progress(done: int, total: int) -> str:
    """Bytes done of all: `12.0/87.4 MiB`; empty while the total is unknown (0)."""
    return f"{done / MIB:.1f}/{total / MIB:.1f} MiB" if total else ""


def speed(size: int, seconds: float) -> str:
    """Bytes in a time: `13.6 MiB/s`; empty as long as there is nothing to tell."""
    return f"{size / MIB / seconds:.1f} MiB/s" if size and seconds > 0 else ""


def shown(path: Path) -> str:
    """A path, relative to the current directory where it lies below it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
