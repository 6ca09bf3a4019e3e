"""Random writes, made of a stock kube-apiserver and of the embedded one: both say the same and end at the same.

Some of always the same ones; with FUZZ_SECONDS so many seconds of new ones.
"""

from __future__ import annotations

import copy
import itertools
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.apicore import WIDGETS, InProcess
from support.randomwrites import APPLY, CURRENT, Write, creates, random_crd, writes
from support.realcluster import RealCluster, missing_binaries
from support.realserver import CRDS, RealServer, Told

MISSING = missing_binaries("etcd", "kube-apiserver")
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING)

Json = dict[str, Any]
Call = Callable[[str, str, Any, dict[str, str]], Told]

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
_TIME = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_VERSION = re.compile(r'(\\*"resourceVersion\\*": ?\\*")\d+')
_names = (f"w{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Call, Call]]:
    """Ours and the real one, with the definition in both."""
    ours = InProcess().told
    with RealCluster(tmp_path_factory.mktemp("real")) as cluster:
        real = RealServer(cluster.kubeconfig).call
        for call in (ours, real):
            assert call("POST", CRDS, random_crd(), {})[0] == 201
        yield ours, real


def told(call: Call, name: str, write: Write) -> Told:
    """What a server says to a write, without what each makes up for itself."""
    one = f"{WIDGETS}/{name}"
    stored = call("GET", one, None, {})[1].get("metadata") or {}
    body = copy.deepcopy(write.body)
    if isinstance(body, dict):
        metadata = body.setdefault("metadata", {}) if write.method != "PATCH" or write.content_type == APPLY else {}
        metadata = body.get("metadata", metadata)
        if write.method == "PUT" and write.subresource:
            # As every client does it; a real server takes what it leaves out from its owners, and does not change it.
            metadata.update(stored)
        if write.method != "PATCH" or write.content_type == APPLY:
            metadata["name"] = name
        if metadata.get("resourceVersion") == CURRENT:
            metadata["resourceVersion"] = stored.get("resourceVersion", "1")
    place = WIDGETS if write.method == "POST" else f"{one}/{write.subresource}".rstrip("/")
    headers = {"content-type": write.content_type, "user-agent": write.agent}
    status, answer, warnings = call(write.method, f"{place}?{write.query}", body, headers)
    return status, comparable(answer, stored.get("uid", "")), warnings


def comparable(answer: Json, uid: str) -> Json:
    made = answer.get("metadata", {}).get("uid", "")
    text = json.dumps(answer, sort_keys=True)
    for known in {uid, made} - {""}:
        text = text.replace(known, "UID")
    found: Json = json.loads(_VERSION.sub(r"\1RV", _TIME.sub("TIME", text)))
    # Managers of one second, and faults of a map's fields, come in no order.
    if "managedFields" in found.get("metadata", {}):
        found["metadata"]["managedFields"].sort(key=json.dumps)
    causes = (found.get("details") or {}).get("causes")
    if causes:
        causes.sort(key=json.dumps)
        found["message"] = ""
        if causes[0]["field"] == "patch":  # with the patched object as Go prints it
            causes.clear()
    return found


def check(servers: tuple[Call, Call], made: list[Write]) -> None:
    name = next(_names)
    for write in made:
        ours, real = (told(call, name, write) for call in servers)
        if write.content_type == APPLY and min(ours[0], real[0]) >= 400:
            # A real server refuses what cannot be typed (500) before conflicts and validation, field by field.
            continue
        assert ours == real, f"{write}\nours: {json.dumps(ours)}\nreal: {json.dumps(real)}"


histories = st.builds(lambda first, rest: [first, *rest], creates, st.lists(writes, min_size=1, max_size=8))
_quiet = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


@settings(max_examples=150, derandomize=True, **_quiet)
@given(histories)
def test_both_servers_say_the_same_of_random_writes(servers: tuple[Call, Call], made: list[Write]) -> None:
    check(servers, made)


@pytest.mark.skipif(not SECONDS, reason="FUZZ_SECONDS is not set")
def test_both_servers_say_the_same_of_new_random_writes(servers: tuple[Call, Call]) -> None:
    @settings(max_examples=200, phases=[Phase.generate, Phase.shrink], **_quiet)
    @given(histories)
    def some(made: list[Write]) -> None:
        check(servers, made)

    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        some()
