"""Downloads that turn out larger than what their caches say."""

from __future__ import annotations

import json

import pytest
from support.disks import Disks

MIB = 1 << 20


def test_a_download_that_is_larger_than_its_cache_says_is_stopped_if_it_does_not_fit(node: Disks) -> None:
    node.have("pinned", 5, evictionPolicy="Never")
    node.add("liar", 1)
    node.run()
    (job,) = node.unfinished()
    notes = node.root / "models" / ".staging" / node.key("liar") / ".localmodel"
    notes.mkdir()
    told = {"uri": node.uri("liar"), "state": "downloading", "bytesDone": 1, "bytesTotal": 6 * MIB}
    (notes / "progress.json").write_text(json.dumps(told))
    (notes / "part").write_bytes(b"x")
    node.run()
    assert job.name not in [j.name for j in node.unfinished()]
    node.run()
    assert node.status("liar") == "ModelDownloadPending"
    assert "needs 6.0 MiB" in node.model("liar").message
    assert node.unfinished() == []


@pytest.mark.parametrize("is_ours", [True, False], ids=["told by our image", "seen of a foreign one"])
def test_a_download_that_is_larger_than_its_cache_says_displaces_and_is_promised_what_it_needs(
    node: Disks, is_ours: bool
) -> None:
    node.have("low", 4, priority=-1)
    node.add("liar", 1)
    node.run()
    (job,) = node.unfinished()
    staged = node.root / "models" / ".staging" / node.key("liar")
    if is_ours:
        (staged / ".localmodel").mkdir()
        told = {"uri": node.uri("liar"), "state": "downloading", "bytesDone": 1, "bytesTotal": 6 * MIB}
        (staged / ".localmodel" / "progress.json").write_text(json.dumps(told))
    else:
        (staged / "part").write_bytes(b"\0" * 5 * MIB)
    node.run()
    assert node.there() == set()
    assert "liar turned out to be larger than its cache says" in node.model("low").message
    assert [job.name for job in node.unfinished()] == [job.name], "it goes on"
    promised = node.store.record(node.key("liar")).promised
    assert promised == (6 * MIB if is_ours else 5 * MIB * 11 // 10)
    node.add("another", 3, priority=5)
    for _ in range(2):
        node.run()
        assert [it.name for it in node.unfinished()] == [job.name], "no other gets the room"
        node.restart()
