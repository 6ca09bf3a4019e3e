"""Becomes another program that dies with the process that started it. Run as a script by `spawn.Spawner`.

    python -I -S launch.py PARENT_PID PROGRAM ARGUMENT...

PR_SET_PDEATHSIG must be set by the child itself, between fork and exec. Doing so here, in a program of its own, instead
of in a `preexec_fn`, keeps Python code out of the fork of a process with many threads. The parent may already be gone
when the signal is set, hence the comparison afterwards.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    parent, command = int(arguments[0]), arguments[1:]
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        sys.stderr.write(f"cannot set the parent-death signal: {os.strerror(ctypes.get_errno())}\n")
        return 126
    if os.getppid() != parent:
        return 126
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # the interpreter ignores these, and exec would hand that on
        signal.signal(ignored, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.stderr.write(f"cannot run {command[0]}: {error.strerror}\n")
    return 127


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
