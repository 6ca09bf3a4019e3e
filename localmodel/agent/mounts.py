"""What the kernel says about mounts: is a directory a file system of its own?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

_ESCAPE: Final = re.compile(r"\\([0-7]{3})")
_TABLE: Final = Path("/proc/self/mountinfo")


def is_whole_file_system(directory: Path, *, table: Path = _TABLE) -> bool:
    """A file system is mounted at the directory, from its root on: a disk, and not a directory of another one, which is
    what a container sees at the place of a host path without a disk. False where the kernel does not tell."""
    try:
        lines = table.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return False
    place = str(directory.resolve())
    found = ""
    for line in lines:  # The last mount at a place is the one that is seen.
        fields = line.split(" ")
        if len(fields) > 4 and _plain(fields[4]) == place:
            found = _plain(fields[3])
    return found == "/"


def _plain(field: str) -> str:
    """proc(5): space, tab, newline and backslash are written as octal numbers."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), field)
