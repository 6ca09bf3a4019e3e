"""The filter before /metrics: runtimes.md 2.11 no. 152."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from localmodel.runtime.authfilter import CACHE_SIZE, AuthFilter, SubjectAccessReview, TokenReview
from localmodel.runtime.errors import ForbiddenError, TransportError
from localmodel.runtime.httpserver import HttpRequest, HttpResponse
from localmodel.runtime.testing import Action, FakeClient, FakeClock

USERS = {"good": {"username": "prometheus", "uid": "1", "groups": ["scrapers"]}, "other": {"username": "eve"}}


class Cluster:
    """Answers reviews; `down` is what it raises instead."""

    def __init__(self) -> None:
        self.down: Exception | None = None
        self.allowed = {"prometheus"}
        self.asked: list[str] = []
        self.clock = FakeClock()
        client = FakeClient(clock=self.clock, interceptors=[self._answer])
        self.route = AuthFilter(client, clock=self.clock).protect("/metrics", lambda request: HttpResponse(b"metrics"))

    def scrape(self, authorization: str = "Bearer good", path: str = "") -> int:
        return self.route(HttpRequest(path=path, headers={"authorization": authorization})).code

    def _answer(self, action: Action, proceed: Callable[[], Any]) -> Any:
        if self.down is not None:
            raise self.down
        self.asked.append(action.kind.__name__)
        review = action.object
        if isinstance(review, TokenReview):
            user = USERS.get(review.spec["token"])
            return review.model_copy(update={"status": {"authenticated": user is not None, "user": user}})
        assert isinstance(review, SubjectAccessReview)
        assert review.spec["nonResourceAttributes"]["verb"] == "get"
        allowed = review.spec["user"] in self.allowed and review.spec["nonResourceAttributes"]["path"] == "/metrics"
        return review.model_copy(update={"status": {"allowed": allowed}})


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.mark.parametrize("authorization", ["", "Bearer ", "Bearer wrong", "Basic good", "good"])
def test_152_401_without_a_valid_token(cluster: Cluster, authorization: str) -> None:
    assert cluster.scrape(authorization) == 401


def test_152_403_without_the_right_to_the_path(cluster: Cluster) -> None:
    assert cluster.scrape("Bearer other") == 403
    assert cluster.scrape(path="/deeper") == 403
    assert cluster.scrape() == 200


@pytest.mark.parametrize("error", [TransportError("connection refused"), ForbiddenError.of("may not review")])
def test_152_500_if_the_review_itself_fails(cluster: Cluster, error: Exception) -> None:
    cluster.down = error
    assert cluster.scrape() == 500
    cluster.down = None
    assert cluster.scrape() == 200


def test_a_right_is_remembered_for_all_that_makes_a_user(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that is limited by the user's extra fields (OpenShift's scopes) gets no verdict about another."""
    limited = {**USERS["good"], "extra": {"scopes.authorization.openshift.io": ["user:info"]}}
    monkeypatch.setitem(USERS, "limited", limited)
    assert cluster.scrape() == 200
    cluster.allowed.clear()
    assert cluster.scrape() == 200
    assert cluster.scrape("Bearer limited") == 403


def test_a_token_is_believed_for_a_minute_and_a_right_for_five(cluster: Cluster) -> None:
    cluster.scrape()
    cluster.clock.advance(59)
    cluster.scrape()
    assert cluster.asked == ["TokenReview", "SubjectAccessReview"]
    cluster.clock.advance(1)
    cluster.scrape()
    assert cluster.asked[2:] == ["TokenReview"]
    cluster.clock.advance(240)
    cluster.scrape()
    assert cluster.asked[3:] == ["TokenReview", "SubjectAccessReview"]


def test_a_refusal_is_believed_for_half_a_minute(cluster: Cluster) -> None:
    assert cluster.scrape("Bearer other") == 403
    cluster.allowed.add("eve")
    cluster.clock.advance(29)
    assert cluster.scrape("Bearer other") == 403
    cluster.clock.advance(1)
    assert cluster.scrape("Bearer other") == 200


def test_a_bad_token_is_asked_about_each_time(cluster: Cluster) -> None:
    cluster.scrape("Bearer wrong")
    cluster.scrape("Bearer wrong")
    assert cluster.asked == ["TokenReview"] * 2


def test_the_memory_is_bounded(cluster: Cluster) -> None:
    for number in range(CACHE_SIZE + 1):
        cluster.scrape(path=f"/{number}")
    cluster.asked.clear()
    cluster.scrape(path="/0")
    assert cluster.asked == ["SubjectAccessReview"]
