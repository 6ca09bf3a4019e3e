"""What `localmodel sandbox up` refuses before it starts anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from localmodel.cli.main import main
from localmodel.sandbox import up


@pytest.fixture(autouse=True)
def _no_signal_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "interrupt_on_termination", lambda: None)


def test_fewer_nodes_than_the_earlier_run_had(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("node-1", "node-2"):
        (tmp_path / "nodes" / name).mkdir(parents=True)
    assert main(["sandbox", "up", "--nodes=1", f"--workdir={tmp_path}"]) == 1
    output = capsys.readouterr().out
    assert "has 2 nodes" in output
    assert "give --nodes 2 or more" in output


def test_a_directory_that_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["sandbox", "up", f"--workdir={tmp_path / 'file'}"]) == 1
    assert capsys.readouterr().out == f"cannot start: --workdir {tmp_path / 'file'} is not a directory: name another\n"
