"""The working directory's promises: what is refused before anything starts, and what is left at the end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localmodel.sandbox.workdir import CONTENTS, Workdir, WorkdirError


@pytest.mark.parametrize("name", CONTENTS)
def test_an_earlier_run_is_refused_by_who_starts_from_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(WorkdirError, match=rf"holds an earlier run \({name}\): remove it"), claimed(tmp_path):
        pass


def test_an_earlier_run_may_be_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "nodes").mkdir()
    with Workdir(tmp_path).claimed(fresh=False) as directory:
        assert directory == tmp_path


def test_a_second_program_is_kept_out_until_the_first_ends(tmp_path: Path) -> None:
    with (
        claimed(tmp_path),
        pytest.raises(WorkdirError, match="in use by another"),
        Workdir(tmp_path).claimed(fresh=False),
    ):
        pass
    with claimed(tmp_path):
        pass


def test_what_cannot_be_made_is_named_with_the_flag() -> None:
    with pytest.raises(WorkdirError, match="--workdir /proc/none cannot be made: No such file"), claimed("/proc/none"):
        pass


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(WorkdirError, match="file is not a directory"), claimed(file):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_rights_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(WorkdirError, match="cannot be written to"), claimed(tmp_path):
        pass


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_a_temporary_directory_goes_with_all_in_it(error: type[BaseException] | None) -> None:
    workdir = Workdir(prefix="localmodel-test-")
    end(workdir, error, started=True)
    assert not workdir.path.exists()


def test_an_error_leaves_what_was_started_in_a_temporary_directory() -> None:
    workdir = Workdir(prefix="localmodel-test-")
    end(workdir, RuntimeError, started=True)
    assert workdir.was_used
    with workdir.claimed(fresh=False):
        pass
    assert not workdir.path.exists()


@pytest.mark.parametrize("given", [True, False])
def test_an_error_before_anything_was_started_leaves_no_directory(tmp_path: Path, given: bool) -> None:
    workdir = Workdir(tmp_path / "new") if given else Workdir(prefix="localmodel-test-")
    end(workdir, RuntimeError, started=False)
    assert not workdir.path.exists()


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, RuntimeError])
def test_a_given_directory_stays(tmp_path: Path, error: type[BaseException] | None) -> None:
    workdir = Workdir(tmp_path / "given")
    end(workdir, error, started=True)
    assert workdir.was_used


def claimed(path: Path | str):  # type: ignore[no-untyped-def]
    return Workdir(Path(path)).claimed(fresh=True)


def end(workdir: Workdir, error: type[BaseException] | None, *, started: bool) -> None:
    """Uses the directory until the error, if any."""

    def use() -> None:
        with workdir.claimed(fresh=True) as directory:
            if started:
                (directory / "logs").mkdir()
            if error is not None:
                raise error

    if error is None:
        use()
        return
    with pytest.raises(error):
        use()
