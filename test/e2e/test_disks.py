"""A disk that is made read-only, given to another user, filled, and taken away and given back, under a real agent.

Conditions come and go; nothing is downloaded twice, and nothing is lost.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from support.diskagent import SIZE, USER, DiskAgent, disk_agent, run, why_not

_WHY_NOT = why_not()
pytestmark = pytest.mark.skipif(bool(_WHY_NOT), reason=_WHY_NOT)


@pytest.fixture(scope="module")
def played() -> Iterator[DiskAgent]:
    with disk_agent() as made:
        made.fields["iris"] = {"evictionPolicy": "Never"}
        made.want("iris")
        made.download("iris")
        made.eventually(lambda: made.status("iris") == "ModelDownloaded")
        yield made


@pytest.fixture
def it(played: DiskAgent) -> Iterator[DiskAgent]:
    """Each test leaves a disk that is ready, with iris on it, downloaded once."""
    yield played
    played.becomes("Ready")
    assert played.status("iris") == "ModelDownloaded"
    assert (played.folder("iris") / "sub" / "model.bin").read_bytes() == b"weights"
    assert len(played.jobs("iris")) == 1


def test_a_disk_that_is_read_only_for_a_while_serves_meanwhile(it: DiskAgent) -> None:
    run("mount", "-o", "remount,ro", it.disk)
    assert f"mount {it.root} read-write" in it.becomes("ReadOnlyFileSystem")
    it.restart()
    it.want("iris", "later")
    it.eventually(lambda: it.status("later") is not None)
    assert it.status("iris") == "ModelDownloaded"
    assert it.model("later").reason == "ReadOnlyFileSystem"
    assert it.jobs("later") == []
    run("mount", "-o", "remount,rw", it.disk)
    it.download("later")
    it.eventually(lambda: it.status("later") == "ModelDownloaded")
    it.want("iris")
    it.eventually(lambda: not it.folder("later").exists())


@pytest.mark.parametrize("place", ["models", "models/.staging"])
def test_a_disk_that_belongs_to_another_user_for_a_while_is_told_with_the_owner(it: DiskAgent, place: str) -> None:
    path = it.root / place
    mode = path.stat().st_mode
    os.chown(path, 0, 0)
    path.chmod(0o755)
    message = it.becomes("WrongOwner")
    assert f"cannot write {path}, owned by 0:0, mode 0755" in message
    assert f"chown {USER}:{USER} {path}" in message
    assert it.status("iris") == "ModelDownloaded"
    os.chown(path, USER, USER)
    path.chmod(mode)


@pytest.mark.parametrize("restarts", [False, True], ids=["running", "restarted"])
def test_a_disk_that_is_taken_away_and_given_back_is_as_it_was(it: DiskAgent, restarts: bool) -> None:
    it.unmount()
    assert "its disk is probably not mounted" in it.becomes("RootNotMounted")
    if restarts:
        it.restart()
        it.eventually(lambda: it.log.read_text().count("models root cannot be used") > 1)
    assert it.status("iris") == "ModelDownloaded", "what is not known is not changed"
    assert list(it.root.iterdir()) == [], "nothing is written to the mount point"
    it.mount()


def test_another_disk_in_its_place_is_told_from_none(it: DiskAgent) -> None:
    it.unmount()
    run("mount", "-t", "tmpfs", "-o", f"size=1m,uid={USER},gid={USER}", "tmpfs", it.root)
    assert "it is another disk, or was emptied" in it.becomes("RootEmpty")
    assert list(it.root.iterdir()) == []
    run("umount", it.root)
    it.mount()


def test_a_disk_that_is_full_for_a_while_keeps_what_it_has(it: DiskAgent) -> None:
    ballast = it.disk / "ballast"
    with ballast.open("wb") as file:
        try:
            while True:
                file.write(b"\0" * 65536)
                file.flush()
        except OSError:
            pass
    assert "no space is left" in it.becomes("DiskFull")
    assert it.status("iris") == "ModelDownloaded"
    ballast.unlink()


def test_a_disk_that_fills_up_loses_those_models_that_may_go_and_gets_them_back(it: DiskAgent) -> None:
    """8 MiB, of which four models and the ballast take more than 80 %: one less is below 70 % again."""
    names = ("dear", "used", "cheap")
    for number in range(len(names)):
        it.want("iris", *names[: number + 1], dear={"priority": 5})
        it.download(names[number], b"\0" * (1 << 20))
        it.eventually(lambda name=names[number]: it.status(name) == "ModelDownloaded")  # type: ignore[misc]
    pod = it.serve("used")
    it.eventually(lambda: it.model("used").in_use)

    (it.disk / "ballast").write_bytes(b"\0" * (SIZE * 43 // 100))
    it.eventually(lambda: it.status("cheap") == "ModelDownloadPending")
    assert it.model("cheap").reason == "Evicted"
    assert not it.folder("cheap").exists()
    it.eventually(lambda: it.condition("DiskPressure")[0] == "False")
    assert {name: it.status(name) for name in ("iris", "dear", "used")} == dict.fromkeys(
        ("iris", "dear", "used"), "ModelDownloaded"
    )
    assert len(it.jobs("cheap")) == 1, "it comes back when there is room, not before"

    (it.disk / "ballast").unlink()
    it.download("cheap", b"\0" * (1 << 20))
    it.eventually(lambda: it.status("cheap") == "ModelDownloaded")
    it.client.delete(pod, grace_period_seconds=0)
    it.want("iris")
    it.eventually(lambda: not any(it.folder(name).exists() for name in names))


def test_a_folder_in_which_another_user_made_directories_is_told_and_goes_when_it_can_d13(it: DiskAgent) -> None:
    it.want("iris", "foreign")
    it.download("foreign")
    it.eventually(lambda: it.status("foreign") == "ModelDownloaded")
    nested = it.folder("foreign") / "sub"
    os.chown(nested, 0, 0)
    nested.chmod(0o755)
    it.want("iris")
    it.eventually(lambda: it.events("CannotDelete"))
    (told,) = it.events("CannotDelete")
    assert "sub/model.bin: Permission denied" in told
    assert "owned by 0:0, mode 0755" in told
    (item,) = (it.root / "models" / ".trash").iterdir()
    assert it.condition()[0] == "True", "the others are as well as ever"
    run("chown", "-R", f"{USER}:{USER}", item)
    it.restart()
    it.eventually(lambda: not item.exists())


def test_an_empty_folder_that_root_made_in_a_models_place_is_replaced_d05_d13(it: DiskAgent) -> None:
    """As the kubelet does for a pod that starts before its model is there."""
    folder = it.folder("early")
    folder.mkdir()
    folder.chmod(0o750)
    it.want("iris", "early")
    it.download("early")
    it.eventually(lambda: it.status("early") == "ModelDownloaded")
    assert (folder / "sub" / "model.bin").read_bytes() == b"weights"
    it.want("iris")
    it.eventually(lambda: not folder.exists())


def test_a_folder_of_root_in_a_models_place_blocks_that_model_only_d13(it: DiskAgent) -> None:
    folder = it.folder("blocked")
    folder.mkdir()
    (folder / "something").touch()
    it.want("iris", "blocked", "other")
    it.download("blocked")
    it.download("other")
    it.eventually(lambda: it.status("other") == "ModelDownloaded")
    it.eventually(lambda: it.model("blocked").reason == "WrongOwner")
    assert f"cannot move {folder} away: it is owned by 0:{USER}, mode 2755" in it.model("blocked").message
    run("chown", "-R", f"{USER}:{USER}", folder)
    it.eventually(lambda: it.status("blocked") == "ModelDownloaded")
    assert len(it.jobs("blocked")) == 1
    it.want("iris")
    it.eventually(lambda: not folder.exists())
