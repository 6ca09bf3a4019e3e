"""The filtering handler. Numbers are statements of reference/runtimes.md."""

from __future__ import annotations

from typing import Any

import pytest
from support.scripted import config_map

from localmodel.runtime.filtering import FilteringResourceEventHandler
from localmodel.runtime.objects import ConfigMap
from localmodel.runtime.store import Stored, Trimmer


class Recorder:
    """Remembers what it heard."""

    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []

    def on_add(self, obj: Stored[ConfigMap], is_in_initial_list: bool) -> None:
        self.heard.append(("add", obj.resource_version, is_in_initial_list))

    def on_update(self, old: Stored[ConfigMap], new: Stored[ConfigMap]) -> None:
        self.heard.append(("update", old.resource_version, new.resource_version))

    def on_delete(self, obj: Stored[ConfigMap], final_state_unknown: bool) -> None:
        self.heard.append(("delete", obj.resource_version, final_state_unknown))


def state(version: int, *, passes: bool) -> Stored[ConfigMap]:
    return Trimmer(ConfigMap).trim(config_map("a", version, labels={"watched": "yes"} if passes else {}))


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def filtering(recorder: Recorder) -> FilteringResourceEventHandler[ConfigMap]:
    return FilteringResourceEventHandler(lambda obj: obj.labels.get("watched") == "yes", recorder)


@pytest.mark.parametrize(
    ("before", "after", "heard"),
    [
        (False, True, [("add", "2", False)]),
        (True, False, [("delete", "1", False)]),
        (True, True, [("update", "1", "2")]),
        (False, False, []),
    ],
    ids=["entering", "leaving", "both", "none"],
)
def test_75_entering_the_filter_is_an_add_leaving_a_delete_both_sides_an_update_none_nothing(
    filtering: FilteringResourceEventHandler[ConfigMap],
    recorder: Recorder,
    before: bool,
    after: bool,
    heard: list[tuple[Any, ...]],
) -> None:
    filtering.on_update(state(1, passes=before), state(2, passes=after))
    assert recorder.heard == heard


@pytest.mark.parametrize("passes", [True, False])
def test_75_adds_and_deletes_of_what_does_not_pass_are_not_heard(
    filtering: FilteringResourceEventHandler[ConfigMap], recorder: Recorder, passes: bool
) -> None:
    filtering.on_add(state(1, passes=passes), True)
    filtering.on_delete(state(1, passes=passes), True)
    assert recorder.heard == ([("add", "1", True), ("delete", "1", True)] if passes else [])
