import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from localmodel.download import DownloadError, FileEntry, IntegrityError
from localmodel.download.archive import unpack
from localmodel.download.sources.base import ArchiveKind


def unpacked(tmp_path: Path, archive: Path, kind: ArchiveKind) -> list[FileEntry]:
    into = tmp_path / "into"
    into.mkdir()
    return unpack(archive, kind, name="m", into=into, wants=lambda _: True, reserve=lambda _: None)


def tar_with(tmp_path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(tmp_path / "m.tar", "w") as tarball:
        for member in members:
            tarball.addfile(member, io.BytesIO(b"x" * member.size))
    return tmp_path / "m.tar"


def member(name: str, *, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, size
    return info


def test_a_link_inside_the_archive_becomes_a_copy(tmp_path: Path) -> None:
    archive = tar_with(
        tmp_path,
        member("blobs", kind=tarfile.DIRTYPE),
        member("blobs/1", size=3),
        member("sub/a", kind=tarfile.SYMTYPE, target="../blobs/1"),
        member("b", kind=tarfile.LNKTYPE, target="blobs/1"),
    )
    assert sorted(entry.path for entry in unpacked(tmp_path, archive, "tar")) == ["b", "blobs/1", "sub/a"]
    for name in ("b", "sub/a"):
        assert not (tmp_path / "into" / name).is_symlink()
        assert (tmp_path / "into" / name).read_bytes() == b"xxx"


@pytest.mark.parametrize(
    "bad",
    [
        member("/etc/x", size=1),
        member("a/../../x", size=1),
        member("a", kind=tarfile.SYMTYPE, target="/etc/passwd"),
        member("a", kind=tarfile.SYMTYPE, target="../../etc/passwd"),
        member("a", kind=tarfile.SYMTYPE, target="a"),
        member("a", kind=tarfile.LNKTYPE, target="nothing"),
        member("a", kind=tarfile.FIFOTYPE),
        member("a", kind=tarfile.CHRTYPE),
        member(".localmodel/manifest.json", size=1),
    ],
    ids=lambda info: f"{info.name}-{info.linkname}",
)
def test_a_member_that_leads_out_of_the_archive_is_refused(tmp_path: Path, bad: tarfile.TarInfo) -> None:
    archive = tar_with(tmp_path, member("good", size=1), bad)
    with pytest.raises(DownloadError, match="refused"):
        unpacked(tmp_path, archive, "tar")
    assert list((tmp_path / "into").iterdir()) == []


def test_a_zip_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as bundle:
        bundle.writestr("sub/a", b"abc")
    assert [(entry.path, entry.size) for entry in unpacked(tmp_path, tmp_path / "m.zip", "zip")] == [("sub/a", 3)]


@pytest.mark.parametrize(("name", "mode"), [("../x", 0o100644), ("link", 0o120777)])
def test_a_zip_member_that_leads_out_is_refused(tmp_path: Path, name: str, mode: int) -> None:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as bundle:
        bundle.writestr(info, b"/etc/passwd")
    with pytest.raises(DownloadError, match="refused"):
        unpacked(tmp_path, tmp_path / "m.zip", "zip")


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_what_is_no_archive_is_damaged(tmp_path: Path, kind: ArchiveKind) -> None:
    (tmp_path / "m").write_bytes(b"no archive" * 100)
    with pytest.raises(IntegrityError, match=r"no .* archive"):
        unpacked(tmp_path, tmp_path / "m", kind)


def test_room_for_all_members_is_asked_for_before_any_is_written(tmp_path: Path) -> None:
    archive = tar_with(tmp_path, member("a", size=10), member("b", size=20))
    asked: list[int] = []

    def refuse(needed: int) -> None:
        asked.append(needed)
        raise DownloadError("full")

    with pytest.raises(DownloadError, match="full"):
        unpack(archive, "tar", name="m", into=tmp_path / "into", wants=lambda _: True, reserve=refuse)
    assert asked == [30]
