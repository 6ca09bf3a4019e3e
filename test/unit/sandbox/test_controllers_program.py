"""`localmodel sandbox controllers` as a program: what it says when it cannot work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from localmodel.cli.main import main
from localmodel.sandbox.controllers import main as program

UNREACHABLE = """
apiVersion: v1
kind: Config
clusters: [{name: a, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: a, user: {}}]
contexts: [{name: a, context: {cluster: a, user: a}}]
current-context: a
"""


@pytest.fixture(autouse=True)
def _no_signal_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "setup_signal_handler", lambda: None)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "kubeconfig"),
        ("{}", "current-context"),
        ("a: b: c", "mapping values"),
        (UNREACHABLE, "http://127.0.0.1:9"),
    ],
)
def test_a_kubeconfig_that_is_no_use_ends_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, words: str
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    if content is not None:
        kubeconfig.write_text(content)
    assert main(["sandbox", "controllers", f"--workdir={tmp_path}", f"--kubeconfig={kubeconfig}"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert entry["event"] == "controllers failed"
    assert words in entry["error"]
