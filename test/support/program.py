"""`localmodel ...` as a process in the foreground, as a person runs it at a terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from .eventually import eventually
from .sandbox import processes, processes_about


class Run:
    """A program under way. Its output goes to a file, its temporary files to a directory of their own."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.directory = directory
        self._temporary = directory / "tmp"
        self._temporary.mkdir(exist_ok=True)
        self._output = directory / "output"
        with self._output.open("wb") as file:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).with_name("localmodel")), *arguments],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=os.environ | {"TMPDIR": str(self._temporary)},
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def reaches(self, text: str) -> None:
        """Waits until the output has the text; fails at once if the program ends without it."""

        def there() -> bool:
            ended = self.process.poll() is not None
            if text in self.output:
                return True
            if ended:
                raise RuntimeError(f"it ended before it said {text!r}:\n{self.output}")
            return False

        self.eventually(there, timeout=60)

    def eventually(self, condition: Callable[[], object], *, timeout: float = 30.0) -> None:
        eventually(condition, timeout=timeout, message=self.output)

    def interrupt_until_the_end(self) -> None:
        """Ctrl-C again and again, as an impatient person does."""

        def ended() -> bool:
            self.process.send_signal(signal.SIGINT)
            return self.process.poll() is not None

        self.eventually(ended)

    def ends(self, *, within: float = 30.0) -> int:
        """Waits for its end; the exit status."""
        self.eventually(lambda: self.process.poll() is not None, timeout=within)
        return self.process.wait()

    def kill(self, program: str) -> None:
        """Kills one of the programs that it started."""
        (pid,) = (
            pid
            for pid, command in processes().items()
            if str(self.directory) in command and program in command and pid != self.process.pid
        )
        os.kill(pid, signal.SIGKILL)

    def leaves_no_process(self) -> None:
        self.ends()
        eventually(lambda: not processes_about(self.directory), timeout=10, message="processes are left")

    def temporary_files(self) -> list[Path]:
        return sorted(self._temporary.iterdir())
