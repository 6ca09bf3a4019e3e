import io
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from localmodel.download import Manifest, manifest_path
from localmodel.download.main import run
from localmodel.download.redaction import Redactor


@pytest.fixture(autouse=True)
def _global_state() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    structlog.reset_defaults()


@pytest.mark.parametrize("argv", [[], ["hf://a/b"], ["a", "b", "c"], ["--bogus", "a", "b"], ["--log-level", "x"]])
def test_wrong_usage_shows_the_usage_and_exits_with_1(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run(argv, env={}, stderr=io.StringIO())
    assert caught.value.code == 1
    assert "usage: localmodel-download" in capsys.readouterr().err


def test_several_pairs_are_downloaded(tmp_path: Path) -> None:
    argv = []
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())
        argv += [f"file://{tmp_path / name}", str(tmp_path / f"to-{name}")]
    assert run(argv, env={}, stderr=io.StringIO()) == 0
    assert [(tmp_path / f"to-{name}" / name).read_text() for name in ("a", "b")] == ["a", "b"]


def test_a_directory_is_copied_and_stands_by_itself(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (tmp_path / "blob").write_bytes(b"weights")
    (source / "sub" / "w.bin").symlink_to(tmp_path / "blob")
    assert run([f"file://{source}", str(tmp_path / "dest")], env={}, stderr=io.StringIO()) == 0
    copy = tmp_path / "dest" / "sub" / "w.bin"
    assert not copy.is_symlink()
    assert copy.read_bytes() == b"weights"
    assert [entry.path for entry in Manifest.read(manifest_path(tmp_path / "dest")).files] == ["sub/w.bin"]


def test_a_link_to_a_directory_above_it_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "loop").symlink_to(tmp_path / "source")
    stderr = io.StringIO()
    assert run([f"file://{tmp_path / 'source'}", str(tmp_path / "dest")], env={}, stderr=stderr) == 1
    assert "contains it" in stderr.getvalue()


def test_the_cause_is_the_last_line_and_the_termination_message(tmp_path: Path) -> None:
    stderr = io.StringIO()
    uri = f"file://{tmp_path}/nothing"
    env = {"TERMINATION_LOG": str(tmp_path / "log")}
    assert run([uri, str(tmp_path / "dest")], env=env, stderr=stderr) == 1
    message = (tmp_path / "log").read_text()
    assert message.startswith("not found: ")
    assert uri in message
    assert message in stderr.getvalue().splitlines()[-1]


def test_a_termination_message_is_at_most_4096_bytes(tmp_path: Path) -> None:
    env = {"TERMINATION_LOG": str(tmp_path / "log")}
    run([f"hf://{'x/' * 5000}", str(tmp_path / "dest")], env=env, stderr=io.StringIO())
    assert (tmp_path / "log").stat().st_size == 4096


def test_secrets_are_blanked_out() -> None:
    redact = Redactor({"HF_TOKEN": "hf_abc123", "host-headers": '{"Authorization": "Bearer tok-456"}'})
    text = redact("sent hf_abc123 and Bearer tok-456, later tok-456")
    assert "hf_abc123" not in text
    assert "tok-456" not in text


def test_importing_the_package_needs_none_of_what_a_download_needs() -> None:
    code = "import sys, localmodel.download; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"urllib3", "huggingface_hub", "tenacity", "httpx2", "localmodel.download.engine"}.isdisjoint(modules)
