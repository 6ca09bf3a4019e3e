"""Whatever is asked, the server answers something that a client understands, and goes on.

Some seconds of always the same requests; with FUZZ_SECONDS so many seconds of new ones.
"""

from __future__ import annotations

import json
import os
import time

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from support.recorded import Answer, Step
from support.requestgrammar import WIDGET_CRD, requests
from support.requestsenders import CRDS, InProcessSender

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
EXAMPLES = 15

PLAIN = ("404 page not found\n", "400 Bad Request", "ok", "")


def check_answers(steps: list[Step]) -> None:
    send = InProcessSender()
    send(Step("POST", CRDS, json.dumps(WIDGET_CRD).encode(), {"content-type": "application/json"}))
    for step in steps:
        check_answer(step, send(step))
    healthy = send(Step("GET", "/api/v1/namespaces/default"))
    assert (healthy.status, json.loads(healthy.body)["kind"]) == (200, "Namespace")


def check_answer(step: Step, answer: Answer) -> None:
    """It is no failure of the server, and a Status, an object, a list, events, or one of few plain texts."""
    assert answer.status in range(200, 500) or answer.status in (503, 504), (step, answer)
    if answer.lines is not None:
        for line in answer.lines:
            assert json.loads(line)["type"] in ("ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR")
        return
    if not dict(answer.headers)["content-type"].startswith("application/json"):
        assert answer.body.decode() in PLAIN, (step, answer)
        return
    if step.method == "HEAD":
        return
    body = json.loads(answer.body)
    assert body["kind"], (step, answer)
    assert body["apiVersion"], (step, answer)
    if answer.status >= 400:
        assert (body["kind"], body["status"], body["code"]) == ("Status", "Failure", answer.status), (step, answer)
        assert body["message"], (step, answer)
        assert body["reason"], (step, answer)


def run(derandomize: bool, number: int = 0) -> None:
    @seed(number)
    @settings(
        max_examples=EXAMPLES, deadline=None, derandomize=derandomize, suppress_health_check=list(HealthCheck),
        database=None,
    )  # fmt: skip
    @given(st.lists(requests(), min_size=10, max_size=25))
    def answers(steps: list[Step]) -> None:
        check_answers(steps)

    answers()


def test_no_request_makes_the_server_fail() -> None:
    run(derandomize=True)
    end, number = time.monotonic() + SECONDS, int(time.time()) if SECONDS else 0
    while time.monotonic() < end:
        number += 1
        run(derandomize=False, number=number)
