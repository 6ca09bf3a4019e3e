"""A disk that does not answer any more, under a real agent: said, waited for, and as it was when it answers again.

In two ways: a frozen file system can be read, and nobody who writes returns; a place whose automounter has died lets
nobody in. `--disk-timeout` is two seconds here.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import automounter
from support.diskagent import DiskAgent, disk_agent, mount_ext4, mount_tmpfs, run, why_not

_WHY_NOT = why_not()
pytestmark = pytest.mark.skipif(bool(_WHY_NOT), reason=_WHY_NOT)


def why_no_ext4() -> str:
    """Why no file system can be frozen here; empty if one can."""
    if _WHY_NOT:
        return _WHY_NOT
    missing = [name for name in ("mkfs.ext4", "fsfreeze") if shutil.which(name) is None]
    if missing:
        return f"{missing[0]} is not installed"
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory) / "disk"
        place.mkdir()
        try:
            mount_ext4(place)
        except subprocess.CalledProcessError as error:
            return f"a file cannot be mounted as a disk: {error.stderr.decode().strip()}"
        run("umount", place)
    return ""


_WHY_NO_EXT4 = why_no_ext4()
_WHY_NO_AUTOFS = automounter.why_not()


@pytest.fixture(scope="module")
def played() -> Iterator[DiskAgent]:
    with disk_agent("--disk-timeout=2", mount=mount_tmpfs if _WHY_NO_EXT4 else mount_ext4) as made:
        made.want("iris")
        made.download("iris")
        made.eventually(lambda: made.status("iris") == "ModelDownloaded")
        yield made


@pytest.fixture
def it(played: DiskAgent) -> Iterator[DiskAgent]:
    """Each test finds iris on a disk that is ready, and leaves it so, without another download."""
    played.becomes("Ready")
    played.eventually(lambda: played.health("/readyz")[0] == 200)
    yield played
    played.becomes("Ready")
    played.eventually(lambda: played.health("/readyz")[0] == 200)
    assert played.status("iris") == "ModelDownloaded"
    assert (played.folder("iris") / "sub" / "model.bin").read_bytes() == b"weights"
    assert len(played.jobs("iris")) == 1


@contextmanager
def frozen(it: DiskAgent) -> Iterator[None]:
    run("fsfreeze", "--freeze", it.disk)
    try:
        yield
    finally:
        run("fsfreeze", "--unfreeze", it.disk)


def hangs(it: DiskAgent) -> str:
    """Checks what an agent shows whose disk hangs; the condition's message."""
    message = it.becomes("DiskNotResponding")
    assert "nothing on it is read, written or deleted until it does" in message
    assert "look at the node's kernel log and at the device or file server behind it" in message
    assert f"DiskNotResponding: {message}" in it.events("StorageNotReady")
    assert it.status("iris") == "ModelDownloaded", "what is not known is not changed"
    assert it.health("/healthz") == (200, "ok"), "a restart would not help"
    assert it.health("/readyz")[0] == 500
    return message


@pytest.mark.skipif(bool(_WHY_NO_EXT4), reason=_WHY_NO_EXT4)
def test_a_disk_that_hangs_while_the_agent_writes_is_told_and_used_again_when_it_answers(it: DiskAgent) -> None:
    with frozen(it):
        it.want("iris", "later")
        assert "write and fsync of" in hangs(it)
        assert it.jobs("later") == []
    it.download("later")
    it.eventually(lambda: it.status("later") == "ModelDownloaded")
    it.want("iris")
    it.eventually(lambda: not it.folder("later").exists())


@pytest.mark.skipif(bool(_WHY_NO_AUTOFS), reason=_WHY_NO_AUTOFS)
@pytest.mark.parametrize("restarts", [False, True], ids=["running", "restarted"])
def test_a_disk_that_lets_nobody_in_is_told_and_used_again_when_it_does(it: DiskAgent, restarts: bool) -> None:
    with automounter.hanging(it.disk, it.root):
        if restarts:
            it.restart()
        assert f"stat of {it.root / 'models'}" in hangs(it)
