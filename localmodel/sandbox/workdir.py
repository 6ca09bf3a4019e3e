"""`Workdir`: the directory that holds a simulated cluster: nodes' disks, logs, kubeconfigs, the API server's data.

It is claimed before anything starts, by one program at a time (a lock on the directory itself, which the kernel takes
back from a program that is killed). `sandbox up` may claim the directory of an earlier run, and goes on with its
cluster. The demo starts from nothing, so it refuses one. A temporary directory is removed at the end, unless an error
left something to look at.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from localmodel.runtime.errors import RuntimeLibraryError

CONTENTS = ("apiserver", "demo.yaml", "kubeconfig", "logs", "model", "nodes")
"""What runs leave in it."""


class WorkdirError(RuntimeLibraryError):
    """The directory cannot be used; the message names it, and says why and what to do."""


class Workdir:
    """A directory given by the user, or a temporary one."""

    def __init__(self, given: Path | None = None, *, prefix: str = "localmodel-") -> None:
        self._is_temporary = given is None
        self.path = Path(tempfile.mkdtemp(prefix=prefix)) if given is None else given.absolute()

    @property
    def was_used(self) -> bool:
        """Whether programs were started in it, whose logs can be read."""
        return (self.path / "logs").is_dir()

    @contextlib.contextmanager
    def claimed(self, *, fresh: bool) -> Iterator[Path]:
        """Makes it and keeps other programs out of it meanwhile; `fresh` refuses one with an earlier run in it.

        At the end an empty directory is removed, and a temporary one unless an error left logs in it; an interrupt is
        no error. Raises WorkdirError.
        """
        made = self._is_temporary or not self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.path = self.path.resolve()
            handle = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except FileExistsError as error:
            raise WorkdirError(f"--workdir {self.path} is not a directory: name another") from error
        except OSError as error:
            raise WorkdirError(f"--workdir {self.path} cannot be made: {error.strerror}") from error
        remove = self._is_temporary
        try:
            if not os.access(self.path, os.W_OK | os.X_OK):
                raise WorkdirError(f"--workdir {self.path} cannot be written to: name another directory")
            self._lock(handle)
            if fresh:
                self._check_fresh()
            yield self.path
        except Exception:
            remove = self._is_temporary and not self.was_used
            raise
        finally:
            if remove:
                shutil.rmtree(self.path, ignore_errors=True)
            elif made:
                with contextlib.suppress(OSError):  # not empty
                    self.path.rmdir()
            os.close(handle)

    def _lock(self, handle: int) -> None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise WorkdirError(
                f"--workdir {self.path} is in use by another localmodel program: stop that, or name another directory"
            ) from error

    def _check_fresh(self) -> None:
        found = [name for name in CONTENTS if (self.path / name).exists()]
        if found:
            raise WorkdirError(
                f"--workdir {self.path} holds an earlier run ({', '.join(found)}): remove it, or name another directory"
            )
