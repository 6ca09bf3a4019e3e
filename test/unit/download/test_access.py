"""`--check`: may these credentials read a URI?"""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from support.download import FAST, FakeClock, MemorySource

from localmodel.download.access import check
from localmodel.download.errors import AuthenticationError, NotFoundError
from localmodel.download.main import run

FILES = {"config.json": b"{}", "model.safetensors": b"\0" * 1000}


class Gated(MemorySource):
    """A hub that lists a model to everybody and lets nobody read it."""

    def _open(self, path: str, content: bytes, offset: int) -> None:  # type: ignore[override]
        self.opens.append((path, offset))
        raise AuthenticationError("no")


def ask(source: MemorySource, **env: str) -> None:
    check("hf://o/m", env={**FAST, **env}, clock=FakeClock(), source=source)


def test_one_byte_of_the_largest_file_is_read() -> None:
    source = MemorySource(FILES)
    ask(source)
    assert source.opens == [("model.safetensors", 0)]


def test_a_model_that_is_listed_and_cannot_be_read_is_refused() -> None:
    with pytest.raises(AuthenticationError):
        ask(Gated(FILES))


def test_a_source_that_breaks_is_asked_again() -> None:
    source = MemorySource(FILES)
    source.breaks = {"model.safetensors": [0]}
    ask(source)
    assert len(source.opens) == 2


def test_the_files_that_a_download_would_leave_out_do_not_count() -> None:
    source = MemorySource(FILES)
    ask(source, STORAGE_ALLOW_PATTERNS='["*.json"]')
    assert source.opens == [("config.json", 0)]
    with pytest.raises(NotFoundError, match="no file that the patterns let through"):
        ask(source, STORAGE_ALLOW_PATTERNS='["*.bin"]')


def test_the_program_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"x")
    assert run(["--check", f"file://{tmp_path / 'model.bin'}"], env={}, stderr=io.StringIO()) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["model.bin"]


def test_the_program_says_why_not(tmp_path: Path) -> None:
    said = tmp_path / "said"
    argv = ["--check", f"file://{tmp_path / 'missing'}"]
    assert run(argv, env={"TERMINATION_LOG": str(said)}, stderr=io.StringIO()) == 1
    assert "not found" in said.read_text()


def test_a_check_needs_a_uri(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["--check"], env={}, stderr=io.StringIO())
    assert "usage: localmodel-download" in capsys.readouterr().err
