"""Each reason that an agent may give of a model or its disk can be looked up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from localmodel.agent.decisions import Reason
from localmodel.agent.errors import AgentError
from localmodel.agent.symptoms import Trouble

DOCS = Path(__file__).parents[3] / "docs"


def errors(base: type[AgentError] = AgentError) -> Iterator[type[AgentError]]:
    for error in base.__subclasses__():
        yield error
        yield from errors(error)


@pytest.mark.parametrize("reason", sorted({*Reason, *Trouble, *(error.reason for error in errors())}))
def test_a_reason_stands_in_the_documents(reason: str) -> None:
    pages = (DOCS / "agent.md").read_text() + (DOCS / "troubleshooting.md").read_text()
    assert f"`{reason}`" in pages
