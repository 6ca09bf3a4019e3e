"""How full a disk is with all that was promised, under which limits, and what is said of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localmodel.agent.eviction import Request, admit
from localmodel.agent.filesystem import FileSystem
from localmodel.agent.limits import Bounds
from localmodel.agent.requirements import Requirements
from localmodel.agent.space import human, promised, shortage
from localmodel.agent.usage import DiskUsage
from localmodel.api import LocalModelNodeGroup
from localmodel.api.config import LocalModelConfig
from localmodel.runtime.testing.fake import FakeClient

GIB = 1 << 30


def test_the_room_is_what_users_have_of_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """As df counts: of 1,000 blocks 100 are used, and root keeps 400 back."""
    said = os.statvfs_result((4096, 4096, 1000, 900, 500, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: said)
    assert FileSystem().room(Path("/")) == (600 * 4096, 500 * 4096)


def usage(*, available: int = 100 * GIB, used: int = 0, **staged: int) -> DiskUsage:
    return DiskUsage(capacity=100 * GIB, available=available, used=used, staged=staged)


@pytest.mark.parametrize(
    ("fits", "facts", "reserved", "limit"),
    [
        (True, usage(), {}, None),
        (True, usage(used=5 * GIB), {}, 10 * GIB),
        (False, usage(used=5 * GIB + 1), {}, 10 * GIB),
        (False, usage(available=5 * GIB - 1), {}, None),
        (True, usage(available=3 * GIB, used=2 * GIB, mine=2 * GIB), {}, 5 * GIB),
        (False, usage(), {"other": 6 * GIB}, 10 * GIB),
        (True, usage(used=6 * GIB, other=1 * GIB), {"other": 1 * GIB}, 11 * GIB),
        (False, usage(available=9 * GIB), {"other": 5 * GIB}, None),
        (True, usage(available=9 * GIB, used=2 * GIB, other=2 * GIB), {"other": 5 * GIB}, None),
        (True, usage(), {"mine": 9 * GIB}, 5 * GIB),
    ],
)
def test_a_model_of_5_gib_fits_or_not(
    fits: bool, facts: DiskUsage, reserved: dict[str, int], limit: int | None
) -> None:
    bounds = Bounds(limit=limit, high=limit, low=limit, high_percent=100, low_percent=100)
    disk = promised("mine", usage=facts, reserved=reserved, bounds=bounds)
    assert (admit(disk, Request(key="mine", size=5 * GIB)) is not None) == fits


@pytest.mark.parametrize(
    ("limit", "available", "words"),
    [
        (
            5 * GIB,
            100 * GIB,
            "limit of 5.0 GiB of LocalModelNodeGroup gpu1, of which eviction leaves 5.0 GiB, and",
        ),
        (None, 2 * GIB, "the disk has about 2.0 GiB left of 100.0 GiB, of which 0 B stay free, and"),
    ],
)
def test_want_of_room_is_told_in_the_same_words_while_other_downloads_go_on(
    limit: int | None, available: int, words: str
) -> None:
    bounds = Bounds(limit=limit, group="gpu1", high=limit, low=limit, high_percent=100, low_percent=100)
    told = set()
    for written in (0, GIB // 4, GIB // 2):
        facts = usage(available=available - written, used=written, other=written)
        told.add(shortage(5 * GIB, promised("mine", usage=facts, reserved={"other": GIB}, bounds=bounds), GIB))
    (message,) = told
    assert message.startswith("the model needs 5.0 GiB; ")
    assert f"{words} 1.0 GiB are reserved for downloads under way; " in message


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (GIB, "the limit of LocalModelNodeGroup gpu1 is 1.0 GiB; raise its storageLimit, or correct modelSize"),
        (None, "the disk is 100.0 GiB; give this node a larger disk, or correct modelSize"),
    ],
)
def test_a_model_that_is_larger_than_all_the_room_is_not_said_to_lack_what_others_take(
    limit: int | None, words: str
) -> None:
    bounds = Bounds(limit=limit, group="gpu1", high=limit, low=limit, high_percent=80, low_percent=70)
    disk = promised("mine", usage=usage(available=50 * GIB), reserved={"other": GIB}, bounds=bounds)
    told = shortage(101 * GIB, disk, GIB)
    assert told == f"the model needs 101.0 GiB and can never fit: {words}"


def test_of_several_groups_the_tightest_counts_and_is_named() -> None:
    specs = {
        "roomy": {"storageLimit": "20Gi", "eviction": {"highWatermarkPercent": 90, "lowWatermarkPercent": 10}},
        "tight": {"storageLimit": "10Gi"},
        "none": {"storageLimit": "", "eviction": {"highWatermarkPercent": 75}},
    }
    groups = [LocalModelNodeGroup.from_dict({"metadata": {"name": name}, "spec": spec}) for name, spec in specs.items()]
    bounds = Requirements(FakeClient(*groups)).limits.bounds([*specs, "gone", ""], LocalModelConfig())
    assert (bounds.limit, bounds.group) == (10 * GIB, "tight")
    assert (bounds.high, bounds.low) == (8 * GIB, 2 * GIB)
    assert (bounds.high_percent, bounds.low_percent) == (75, 10)


def test_bytes_are_written_for_people() -> None:
    assert [human(n) for n in (5, 1536, 3 * GIB)] == ["5 B", "1.5 KiB", "3.0 GiB"]
