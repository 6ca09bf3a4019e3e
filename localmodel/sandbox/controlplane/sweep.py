"""Removes a directory once the process that started it has gone, however it went. Run as a script by `binaries`.

    python -I -S sweep.py DIRECTORY < PIPE

The pipe's other end is the process's own: the kernel closes it when the process ends, also after SIGKILL.
"""

import shutil
import sys
import time
from pathlib import Path

PATIENCE = 10.0
"""Seconds for which what used the directory may still write to it; it is killed at the same time."""


def main(directory: Path) -> int:
    sys.stdin.buffer.read()
    until = time.monotonic() + PATIENCE
    while directory.exists() and time.monotonic() < until:
        shutil.rmtree(directory, ignore_errors=True)
        time.sleep(0.05)
    return 1 if directory.exists() else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
