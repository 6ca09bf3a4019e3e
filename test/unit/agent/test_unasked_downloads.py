"""A download that nobody asks for any more goes on while its cache stands, but not at the cost of anybody else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.disks import Disks

MIB = 1 << 20


@pytest.fixture
def node(node: Disks) -> Disks:
    """Beside a whole model of 5 MiB (of 8 below the high watermark) one of 1 MiB is under way, whose entry has gone."""
    node.have("whole", 5)
    node.add("gone", 1)
    node.run()
    del node.entries["gone"]
    node.tell()
    node.run()
    assert len(node.unfinished()) == 1
    return node


def write(node: Disks, size: int) -> None:
    (staging(node) / "weights").write_bytes(b"\1" * size)
    node.run()


def staging(node: Disks) -> Path:
    return node.root / "models" / ".staging" / node.key("gone")


def test_one_that_grows_beyond_what_it_was_promised_is_promised_more(node: Disks) -> None:
    write(node, 2 * MIB)
    assert len(node.unfinished()) == 1
    assert node.store.record(node.key("gone")).promised == int(2 * MIB * 1.1)


def test_so_others_do_not_count_on_that_room(node: Disks) -> None:
    notes = staging(node) / ".localmodel"
    notes.mkdir()
    told = {"uri": node.uri("gone"), "state": "downloading", "bytesDone": 1, "bytesTotal": 2 * MIB}
    (notes / "progress.json").write_text(json.dumps(told))
    write(node, 1)
    node.add("other", 2, priority=-1)
    node.run()
    assert node.model("other").reason == "InsufficientStorage"
    assert "2.0 MiB are reserved for downloads under way" in node.model("other").message


def test_one_that_does_not_fit_is_ended_and_costs_no_model(node: Disks) -> None:
    write(node, 4 * MIB)
    assert (node.unfinished(), node.there()) == ([], {"whole"})
    assert node.store.record(node.key("gone")).reason == "InsufficientStorage"
    assert any(f"{node.uri('gone')}: the download was stopped" in event.message for event in node.recorder.events)
    node.run()
    assert node.there() == {"whole"}


def test_its_size_is_known_when_it_is_wanted_again(node: Disks) -> None:
    write(node, 4 * MIB)
    node.add("gone", 1, priority=-1)
    node.run()
    assert node.model("gone").reason == "InsufficientStorage"
    assert "needs 4.4 MiB" in node.model("gone").message
    assert node.there() == {"whole"}


def test_what_one_that_is_wanted_has_written_in_vain_costs_no_model_either(node: Disks) -> None:
    node.add("gone", 1, priority=-1)
    node.run()
    write(node, 4 * MIB)
    for _ in range(3):
        node.run()
        assert node.there() == {"whole"}
    assert (node.model("gone").reason, node.unfinished()) == ("InsufficientStorage", [])
