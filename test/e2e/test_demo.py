"""`localmodel demo` as a person runs it: its exit status, and what it leaves behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.eventually import eventually
from support.sandbox import processes_about

DEMO = [str(Path(sys.executable).with_name("localmodel")), "demo", "--plain", "--synthetic", "24Mi"]


class Run:
    """A demo under way, its output in a file."""

    def __init__(self, directory: Path) -> None:
        self.workdir = directory / "work"
        self._output = directory / "output"
        with self._output.open("wb") as file:
            command = [*DEMO, "--workdir", str(self.workdir)]
            self.process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def reaches(self, text: str) -> None:
        """Waits until the output has the text; fails at once if the demo ends without it."""

        def there() -> bool:
            ended = self.process.poll() is not None
            if text in self.output:
                return True
            assert not ended, self.output
            return False

        eventually(there, timeout=60)

    def leaves_nothing_running(self) -> None:
        eventually(lambda: not processes_about(self.workdir), timeout=10, message="processes are left")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path)
    yield run
    if run.process.poll() is None:
        run.process.kill()
        run.process.wait()


def test_it_succeeds_and_leaves_no_process(run: Run) -> None:
    assert run.process.wait(120) == 0, run.output
    for fact in ("3 copies are available", "files have the source's sha256", "from the cache", "downloading first"):
        assert fact in run.output
    run.leaves_nothing_running()


@pytest.mark.parametrize("moment", ["Simulated cluster", "Caching", "downloading"])
def test_ctrl_c_stops_everything(run: Run, moment: str) -> None:
    run.reaches(moment)
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(30) == 130, run.output
    run.leaves_nothing_running()


def test_a_killed_demo_leaves_no_process(run: Run) -> None:
    run.reaches("downloading")
    run.process.kill()
    run.process.wait()
    run.leaves_nothing_running()


def test_a_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    command = [*DEMO[:3], "--model", str(tmp_path / "none"), "--workdir", str(tmp_path / "work")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "there is no such directory" in done.stdout
