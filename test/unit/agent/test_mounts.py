"""Is a directory a file system of its own?"""

from __future__ import annotations

from pathlib import Path

import pytest

from localmodel.agent.mounts import is_whole_file_system

MOUNTS = """\
22 1 252:1 / / rw - ext4 /dev/vda rw
30 22 252:1 /models /mnt/models rw - ext4 /dev/vda rw
41 22 252:1 / /mnt/with\\040space rw - ext4 /dev/vdb rw
50 22 252:1 /models /mnt/both rw - ext4 /dev/vda rw
51 50 253:1 / /mnt/both rw master:1 - xfs /dev/vdc rw
"""


@pytest.mark.parametrize(
    ("directory", "expected"),
    [("/mnt/models", False), ("/mnt/with space", True), ("/mnt/both", True), ("/mnt/nothing", False)],
)
def test_whether_a_disk_is_mounted_at_a_directory(tmp_path: Path, directory: str, expected: bool) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(MOUNTS)
    assert is_whole_file_system(Path(directory), table=table) is expected


def test_where_the_kernel_does_not_tell_no_disk_is_mounted(tmp_path: Path) -> None:
    assert not is_whole_file_system(tmp_path, table=tmp_path / "none")
