"""A death at any step that changes the disk: then there is a verified folder or none, and others' are untouched."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
from support.store import FILES, KEY, PUBLICATION, URI, Death, DyingFileSystem, content_of, fill, published
from support.storescenarios import BY_NAME, SCENARIOS, Scenario

from localmodel.agent.store import ModelStore


@pytest.fixture(autouse=True)
def _no_power_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes die here, not machines: what was written is there, and waiting for the disk takes the most time."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.mark.parametrize("can_exchange", [True, False], ids=["exchange", "no-exchange"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda it: it.name)
def test_a_death_at_any_step_leaves_a_whole_model_or_none_d07(
    tmp_path: Path, scenario: Scenario, can_exchange: bool
) -> None:
    counting = DyingFileSystem(can_exchange=can_exchange)
    scenario.prepare(tmp_path / "whole")
    scenario.run(tmp_path / "whole", counting)
    assert len(counting.steps) > 2
    for step in range(len(counting.steps) + 1):
        root = tmp_path / str(step)
        scenario.prepare(root)
        with suppress(Death):
            scenario.run(root, DyingFileSystem(step, can_exchange=can_exchange))
        scenario.inspect(root)


@pytest.mark.parametrize("can_exchange", [True, False], ids=["exchange", "no-exchange"])
def test_a_death_at_any_step_of_recovery_is_recovered_from(tmp_path: Path, can_exchange: bool) -> None:
    scenario = BY_NAME["repair-of-an-altered-file"]
    for first in range(6, 22):
        for second in range(6):
            root = tmp_path / f"{first}-{second}"
            scenario.prepare(root)
            for step, publishes in ((first, True), (second, False)):
                dying = ModelStore(root, filesystem=DyingFileSystem(step, can_exchange=can_exchange))
                with suppress(Death):
                    dying.open()
                    if publishes:
                        dying.publish(KEY, PUBLICATION)
                dying.close()
            scenario.inspect(root)


def test_what_is_whole_stays_whole_from_the_step_on_that_made_it_so(tmp_path: Path) -> None:
    scenario = BY_NAME["repair-of-a-lost-file"]
    kinds = []
    for step in range(30):
        root = tmp_path / str(step)
        scenario.prepare(root)
        with suppress(Death):
            scenario.run(root, DyingFileSystem(step))
        store = ModelStore(root)
        store.open()
        kinds.append(store.check(KEY).kind)
        store.close()
    assert kinds[0] != "complete"
    assert kinds == sorted(kinds, key=lambda kind: kind == "complete")


def test_an_unfinished_download_is_not_published_by_recovery_even_if_its_sizes_fit(tmp_path: Path) -> None:
    store = published(tmp_path)
    (store.models / KEY / "config.json").unlink()
    fill(store.prepare_staging(KEY, URI), {name: b"\0" * len(content) for name, content in FILES.items()})
    store.close()
    reopened = ModelStore(tmp_path)
    reopened.open()
    assert reopened.check(KEY).kind == "incomplete"


def test_a_copied_disk_whose_inodes_are_others_is_as_good(tmp_path: Path) -> None:
    store = published(tmp_path)
    (store.models / KEY).rename(tmp_path / "old")
    fill(store.models / KEY)
    assert store.check(KEY).is_complete
    assert content_of(store.models / KEY) == FILES
