"""The names in a directory, read again only when it has changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localmodel.agent.listing import Listing


def touched(directory: Path, seconds_ago: float) -> None:
    """As if the directory had changed last so long ago."""
    now = directory.stat().st_mtime - seconds_ago
    os.utime(directory, (now, now))


def test_a_directory_that_rests_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").touch()
    touched(tmp_path, seconds_ago=10)
    listing = Listing(tmp_path, set)
    first = listing.read()
    monkeypatch.setattr(os, "listdir", lambda _: pytest.fail("it was read again"))
    assert first == {"a"}
    assert listing.read() is first


def test_what_comes_and_goes_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    touched(tmp_path, seconds_ago=10)
    listing = Listing(tmp_path, set)
    listing.read()
    (tmp_path / "b").touch()
    assert listing.read() == {"a", "b"}
    (tmp_path / "a").unlink()
    assert listing.read() == {"b"}


def test_a_change_within_the_same_tick_is_seen(tmp_path: Path) -> None:
    listing = Listing(tmp_path, set)
    (tmp_path / "a").touch()
    tick = tmp_path.stat()
    assert listing.read() == {"a"}
    (tmp_path / "b").touch()
    os.utime(tmp_path, ns=(tick.st_atime_ns, tick.st_mtime_ns))
    assert listing.read() == {"a", "b"}


def test_another_directory_in_its_place_is_seen(tmp_path: Path) -> None:
    directory, other = tmp_path / "one", tmp_path / "other"
    directory.mkdir()
    other.mkdir()
    (other / "a").touch()
    touched(directory, seconds_ago=10)
    listing = Listing(directory, set)
    assert listing.read() == set()
    directory.rename(tmp_path / "away")
    other.rename(directory)
    os.utime(directory, ns=(0, (tmp_path / "away").stat().st_mtime_ns))
    assert listing.read() == {"a"}


def test_only_names_that_matter_count(tmp_path: Path) -> None:
    for name in ("a.json", "b.txt"):
        (tmp_path / name).touch()
    listing = Listing(tmp_path, lambda names: {name for name in names if name.endswith(".json")})
    assert listing.read() == {"a.json"}


def test_a_directory_that_is_gone_is_an_error(tmp_path: Path) -> None:
    listing = Listing(tmp_path / "none", set)
    with pytest.raises(FileNotFoundError):
        listing.read()
