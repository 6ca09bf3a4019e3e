"""Words and numbers for people."""

from __future__ import annotations

from pathlib import Path

import pytest

from localmodel.sandbox.wording import MIB, counted, mebibytes, progress, shown, speed


@pytest.mark.parametrize(("number", "text"), [(0, "0 nodes"), (1, "1 node"), (3, "3 nodes")])
def test_a_noun_agrees_with_its_number(number: int, text: str) -> None:
    assert counted(number, "node") == text


def test_bytes_and_speeds_are_of_one_family_of_units() -> None:
    assert mebibytes(3 * MIB // 2) == "1.5 MiB"
    assert progress(MIB, 10 * MIB) == "1.0/10.0 MiB"
    assert speed(10 * MIB, 4.0) == "2.5 MiB/s"


def test_what_is_not_known_yet_is_left_out() -> None:
    assert progress(0, 0) == ""
    assert speed(0, 3.0) == ""
    assert speed(MIB, 0.0) == ""


def test_a_path_below_the_current_directory_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown(tmp_path / "a" / "b") == "a/b"
    assert shown(Path("/elsewhere/a")) == "/elsewhere/a"
