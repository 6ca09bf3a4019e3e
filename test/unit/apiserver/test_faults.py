"""Injected faults, through the core without HTTP: what requests get, and what they have done."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from typing import Any

import pytest
from support.apicore import InProcess, lines
from support.eventually import eventually

from localmodel.runtime.clock import RealClock
from localmodel.runtime.testing.fake_clock import FakeClock
from localmodel.runtime.testing.faults import Target
from localmodel.sandbox.apiserver.messages import NoAnswer, Response, WatchResponse

MAPS = "/api/v1/namespaces/default/configmaps"
RULES = "/sandbox/faults"


@pytest.fixture
def server() -> InProcess:
    return InProcess()


def add(server: InProcess, **rule: Any) -> dict[str, Any]:
    status, answer = server.call("POST", RULES, rule)
    assert status == 200, answer
    return answer


def config_map(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}}


def exists(server: InProcess, name: str) -> bool:
    return server.call("GET", f"{MAPS}/{name}")[0] == 200


def test_a_rule_fails_the_requests_of_its_verb_and_resource_and_no_others(server: InProcess) -> None:
    add(server, verb="create", resource="configmaps", code=503, message="etcd is away")
    status, answer = server.call("POST", MAPS, config_map("a"))
    assert (status, answer["reason"], answer["message"]) == (503, "ServiceUnavailable", "etcd is away")
    assert not exists(server, "a")
    assert server.call("POST", "/api/v1/namespaces/default/secrets", config_map("a"))[0] == 201


def test_too_many_requests_come_with_retry_after(server: InProcess) -> None:
    add(server, verb="list", code=429, retryAfterSeconds=7)
    response = server.request("GET", MAPS)
    assert isinstance(response, Response)
    status = json.loads(response.body)
    assert (response.status, status["reason"], status["details"]["retryAfterSeconds"]) == (429, "TooManyRequests", 7)
    assert dict(response.headers)["Retry-After"] == "7"


def test_a_rule_with_times_ends_after_so_many_hits(server: InProcess) -> None:
    add(server, verb="create", code=500, times=2)
    codes = [server.call("POST", MAPS, config_map(f"m-{number}"))[0] for number in range(3)]
    assert codes == [500, 500, 201]
    (rule,) = server.call("GET", RULES)[1]["faults"]
    assert (rule["hits"], rule["remaining"]) == (2, 0)


def test_a_rate_hits_a_share_of_the_requests(server: InProcess) -> None:
    add(server, verb="get", code=500, rate=0.3)
    codes = [server.call("GET", f"{MAPS}/kube-root-ca.crt")[0] for _ in range(400)]
    assert 0.15 < codes.count(500) / 400 < 0.45
    assert codes.count(200) + codes.count(500) == 400


def test_a_dropped_answer_leaves_the_write_done_and_a_reset_does_not(server: InProcess) -> None:
    add(server, verb="create", dropAnswer=True, times=1)
    assert server.request("POST", MAPS, config_map("dropped")) == NoAnswer(201)
    assert exists(server, "dropped")
    add(server, verb="create", reset=True, times=1)
    assert server.request("POST", MAPS, config_map("reset")) == NoAnswer()
    assert not exists(server, "reset")


def test_a_delayed_request_takes_effect_when_its_time_has_passed() -> None:
    clock = FakeClock()
    server = InProcess(clock=clock)
    add(server, verb="create", latencySeconds=30)
    writing = threading.Thread(target=lambda: server.create(MAPS, config_map("slow")))
    writing.start()
    eventually(lambda: server.core.faults.rules[0].hits)
    assert not exists(server, "slow")

    def passed() -> bool:
        clock.advance(10)
        return not writing.is_alive()

    eventually(passed)
    assert exists(server, "slow")


def test_delays_add_to_the_first_end_that_fits() -> None:
    server = InProcess(clock=RealClock())
    add(server, verb="get", latencySeconds=0.001)
    add(server, verb="get", code=500)
    add(server, verb="get", code=503)
    assert server.call("GET", f"{MAPS}/x")[0] == 500
    assert [rule["hits"] for rule in server.call("GET", RULES)[1]["faults"]] == [1, 1, 0]


def test_a_rule_can_be_for_one_user_agent_and_one_subresource(server: InProcess) -> None:
    add(server, verb="update", subresource="status", userAgent="agent/", code=500)
    path = "/api/v1/namespaces/default/pods/p"
    assert server.call("PUT", f"{path}/status", {}, user_agent="agent/1")[0] == 500
    assert server.call("PUT", path, {}, user_agent="agent/1")[0] != 500
    assert server.call("PUT", f"{path}/status", {}, user_agent="manager/1")[0] != 500


def test_rules_can_be_removed_one_by_one_and_all_at_once(server: InProcess) -> None:
    first = add(server, verb="create", code=500)
    add(server, verb="delete", code=500)
    assert server.call("DELETE", f"{RULES}/{first['id']}")[0] == 200
    assert server.call("POST", MAPS, config_map("a"))[0] == 201
    assert server.call("DELETE", f"{MAPS}/a")[0] == 500
    assert server.call("DELETE", RULES)[1] == {"faults": []}
    assert server.call("DELETE", f"{MAPS}/a")[0] == 200


def test_health_discovery_and_the_control_itself_are_never_hit(server: InProcess) -> None:
    add(server, code=500)
    assert server.call("GET", MAPS)[0] == 500
    assert server.call("GET", "/api/v1")[0] == server.call("GET", RULES)[0] == 200


def test_a_cut_watch_ends_and_one_of_another_resource_goes_on(server: InProcess) -> None:
    maps, secrets = server.events(f"{MAPS}?watch=1"), server.events("/api/v1/secrets?watch=1")
    assert server.call("POST", "/sandbox/watches", {"resource": "configmaps"})[1] == {"watches": 1}
    assert (maps.ended, maps.aborted, secrets.ended) == (True, False, False)


def test_a_watch_can_be_reset_or_told_that_its_version_is_too_old(server: InProcess) -> None:
    watch = server.events(f"{MAPS}?watch=1")
    server.call("POST", "/sandbox/watches", {"how": "reset"})
    assert watch.aborted
    watch = server.events(f"{MAPS}?watch=1&resourceVersion={server.registry.store.revision}")
    server.call("POST", "/sandbox/watches", {"how": "expired"})
    (line,) = lines(watch)
    assert (line["type"], line["object"]["code"], line["object"]["reason"]) == ("ERROR", 410, "Expired")
    assert watch.ended


def test_a_held_watch_says_nothing_and_does_not_end(server: InProcess) -> None:
    running = server.events(f"{MAPS}?watch=1")
    assert lines(running)
    assert server.call("POST", "/sandbox/watches", {"hold": True})[1] == {"watches": 1}
    add(server, verb="watch", hold=True)
    started = server.events(f"{MAPS}?watch=1")
    server.create(MAPS, config_map("unseen"))
    server.registry.end_watches()
    assert isinstance(running, WatchResponse)
    assert (lines(running), lines(started), running.ended, started.ended) == ([], [], False, False)


def test_compaction_expires_older_versions(server: InProcess) -> None:
    version = server.create(MAPS, config_map("a"))["metadata"]["resourceVersion"]
    server.create(MAPS, config_map("b"))
    assert server.call("POST", "/sandbox/compact", {})[0] == 200
    (line,) = lines(server.events(f"{MAPS}?watch=1&resourceVersion={version}"))
    assert line["object"]["code"] == 410


def test_a_skewed_clock_shows_in_what_the_server_writes(server: InProcess) -> None:
    assert server.call("POST", "/sandbox/clock", {"skewSeconds": 86400})[1] == {"skewSeconds": 86400}
    later = server.create(MAPS, config_map("a"))["metadata"]["creationTimestamp"]
    server.core.faults.clock_skew = timedelta()
    now = server.create(MAPS, config_map("b"))["metadata"]["creationTimestamp"]
    assert later > now


def test_expired_tokens_are_refused_and_new_ones_are_good(server: InProcess) -> None:
    admin, server.token = server.token, server.tokens.issue_user("alice", ("system:masters",))
    assert server.call("GET", MAPS)[0] == 200
    server.token, alice = admin, server.token
    assert server.call("POST", "/sandbox/tokens", {"user": "alice"})[0] == 200
    server.token = alice
    assert server.call("GET", MAPS)[0] == 401
    server.token = server.tokens.issue_user("alice", ("system:masters",))
    assert server.call("GET", MAPS)[0] == 200


def test_faults_are_for_those_who_may(server: InProcess) -> None:
    server.token = server.tokens.issue_user("alice")
    status, answer = server.call("POST", RULES, {"code": 500})
    assert (status, answer["reason"]) == (403, "Forbidden")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "a fault needs latencySeconds, code, reset, dropAnswer or hold"),
        ({"code": 200}, "code: 200 is no HTTP code of a failure (400 to 599)"),
        ({"code": 500, "dropAnswer": True}, "a fault has one end, not code and dropAnswer: make two rules"),
        ({"code": 500, "rate": 2}, "rate: 2.0 is not above 0 and at most 1"),
        ({"code": 500, "times": 0}, "times: 0 is less than 1"),
        ({"latencySeconds": -1}, "latencySeconds: -1.0 is not from 0 to 600"),
        ({"reset": True, "message": "m"}, "reason, message and retryAfterSeconds go with a code"),
        ({"codes": 500}, "/sandbox/faults: Object contains unknown field `codes`"),
        ({"code": "500"}, "/sandbox/faults: Expected `int`, got `str` - at `$.code`"),
        ([], "/sandbox/faults: Expected `object`, got `array`"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(server: InProcess, body: Any, message: str) -> None:
    status, answer = server.call("POST", RULES, body)
    assert (status, answer["message"]) == (400, message)


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [("GET", "/sandbox/nothing", 404), ("PUT", RULES, 405), ("DELETE", f"{RULES}/9", 404), ("GET", "/sandbox/", 404)],
)
def test_other_paths_and_methods_are_refused(server: InProcess, method: str, path: str, code: int) -> None:
    assert server.call(method, path)[0] == code


def test_a_target_fits_what_it_names() -> None:
    request = Target(verb="get", resource="pods", subresource="", namespace="a", name="b", user="u", user_agent="x/1")
    assert Target().fits(request)
    assert Target(subresource="", namespace="a", user_agent="x/").fits(request)
    assert not Target(subresource="log").fits(request)
    assert not Target(name="c").fits(request)
