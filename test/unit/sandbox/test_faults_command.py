"""`localmodel sandbox faults`: what each action asks of the server."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from localmodel.sandbox.faults import add_arguments, request_of


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(arguments)


@pytest.mark.parametrize(
    ("arguments", "request_"),
    [
        (["list"], ("GET", "/sandbox/faults", None)),
        (
            ["add", "verb=patch", "resource=jobs.batch", "code=429", "retryAfterSeconds=2", "rate=0.5"],
            (
                "POST",
                "/sandbox/faults",
                {"verb": "patch", "resource": "jobs.batch", "code": 429, "retryAfterSeconds": 2, "rate": 0.5},
            ),
        ),
        (["add", "dropAnswer=true", "name=7"], ("POST", "/sandbox/faults", {"dropAnswer": True, "name": "7"})),
        (["clear"], ("DELETE", "/sandbox/faults", None)),
        (["clear", "3"], ("DELETE", "/sandbox/faults/3", None)),
        (["cut-watches", "how=expired"], ("POST", "/sandbox/watches", {"how": "expired"})),
        (["hold-watches", "user=u"], ("POST", "/sandbox/watches", {"user": "u", "hold": True})),
        (["compact"], ("POST", "/sandbox/compact", {"resource": ""})),
        (["skew"], ("GET", "/sandbox/clock", None)),
        (["skew", "-3600"], ("POST", "/sandbox/clock", {"skewSeconds": -3600.0})),
        (["expire-tokens", "alice"], ("POST", "/sandbox/tokens", {"user": "alice"})),
    ],
)
def test_each_action_is_one_request(arguments: list[str], request_: tuple[str, str, Any]) -> None:
    assert request_of(parsed(*arguments)) == request_


@pytest.mark.parametrize("word", ["code", "code=many", "=1", "reset=yes", "color=red"])
def test_a_word_that_is_no_pair_is_refused(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("add", word)
    assert word in capsys.readouterr().err
