"""What holds of every example: it is short, it explains itself, and its command line works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.examples import load, paths

MAX_LINES = 120
TESTS = "10_testing"
"""The one that is a test module and no program."""


def test_they_are_numbered_without_a_gap() -> None:
    assert [path.name[:2] for path in paths()] == [f"{number:02}" for number in range(1, 11)]


@pytest.mark.parametrize("path", paths(), ids=lambda path: path.stem)
def test_it_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < MAX_LINES


@pytest.mark.parametrize("name", [path.stem for path in paths() if path.stem != TESTS])
def test_it_explains_itself(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    module = load(name)
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        module.main()
    assert ended.value.code == 0
    assert module.__doc__ is not None
    assert module.__doc__.splitlines()[0] in capsys.readouterr().out


def test_the_tests_of_the_last_one_pass() -> None:
    path = next(path for path in paths() if path.stem == TESTS)
    # Without this repository's settings and conftest.py: as anybody's tests with the installed package.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=path.parent, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
