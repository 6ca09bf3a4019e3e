"""How a run of the demo ends: its exit status, its last words, and what becomes of its directory."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from localmodel.sandbox import demo


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary directories are made."""
    directory = tmp_path / "tmp"
    directory.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    monkeypatch.setattr(demo, "interrupt_on_termination", lambda: None)
    return directory


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    return demo.run(parser.parse_args(arguments))


def ends(monkeypatch: pytest.MonkeyPatch, error: BaseException | None) -> None:
    """Lets the demo start something, and end so."""

    def play(self: demo.Demo) -> None:
        (self._workdir / "logs").mkdir()
        if error is not None:
            raise error

    monkeypatch.setattr(demo.Demo, "run", play)


def test_success_leaves_nothing(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends(monkeypatch, None)
    assert run() == 0
    assert list(temporary.iterdir()) == []


def test_an_interrupt_leaves_nothing(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run()
    assert list(temporary.iterdir()) == []


def test_a_failure_keeps_the_logs_and_says_where(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ends(monkeypatch, demo.DemoError("it did not hold"))
    assert run() == 1
    (kept,) = temporary.iterdir()
    output = capsys.readouterr().out
    assert "FAILED: it did not hold" in output
    assert f"{kept} is kept" in output


def test_a_failure_before_anything_started_names_no_logs(temporary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--model", str(temporary / "none")) == 1
    assert "there is no such directory" in (output := capsys.readouterr().out)
    assert "logs" not in output
    assert list(temporary.iterdir()) == []


def test_an_earlier_run_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ends(monkeypatch, None)
    workdir = tmp_path / "work"
    assert run("--workdir", str(workdir)) == 0
    capsys.readouterr()
    assert run("--workdir", str(workdir)) == 1
    output = capsys.readouterr().out
    assert output == (
        f"FAILED: --workdir {workdir} holds an earlier run (logs): remove it, or name another directory\n"
    )
