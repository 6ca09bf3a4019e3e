"""One server for all scenarios, with the definition of Widgets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.conformance import WIDGETS

from localmodel.sandbox.envtest import Environment


@pytest.fixture(scope="package")
def environment() -> Iterator[Environment]:
    with Environment(crds=[WIDGETS]) as environment:
        yield environment
