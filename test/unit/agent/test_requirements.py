"""What a download looks up in the cluster before it starts."""

from __future__ import annotations

import pytest
from support.rigid import Rigid

from localmodel.agent.requirements import Requirements
from localmodel.api.config import LocalModelConfig
from localmodel.api.names import download_pvc_name, other_download_pvc_name
from localmodel.api.node import LocalModelInfo
from localmodel.runtime.errors import ForbiddenError
from localmodel.runtime.objects import PersistentVolumeClaim
from localmodel.runtime.testing.fake import FakeClient

PLAIN, OTHER = download_pvc_name("a", "b-c"), other_download_pvc_name("a", "b-c")


def claim(name: str, of: str = "") -> PersistentVolumeClaim:
    annotations = {"localmodel.kserve.io/cache": of} if of else {}
    return PersistentVolumeClaim.from_dict(
        {"metadata": {"name": name, "namespace": "jobs", "annotations": annotations}}
    )


@pytest.mark.parametrize(
    ("there", "mounted"),
    [
        ([], PLAIN),
        ([claim(PLAIN)], PLAIN),
        ([claim(PLAIN, "a")], PLAIN),
        ([claim(PLAIN, "a-b")], OTHER),
        ([claim(PLAIN, "a-b"), claim(OTHER, "a")], OTHER),
        ([claim(OTHER, "a")], OTHER),
        ([claim(PLAIN, "a"), claim(OTHER, "a")], PLAIN),
    ],
)
def test_which_claim_a_download_mounts_d59(there: list[PersistentVolumeClaim], mounted: str) -> None:
    entry = LocalModelInfo(model_name="a", node_group="b-c")
    assert Requirements(FakeClient(*there)).claim_for(entry, "jobs") == mounted


def test_where_claims_may_not_be_read_a_download_mounts_the_plain_one() -> None:
    client = FakeClient(claim(PLAIN, "a-b"))
    client.faults.fail(ForbiddenError.of("no"), verb="get")
    assert Requirements(client).claim_for(LocalModelInfo(model_name="a", node_group="b-c"), "jobs") == PLAIN


def test_a_group_that_nothing_can_be_called_is_not_there_and_stops_no_other_entry() -> None:
    requirements = Requirements(Rigid(FakeClient()))
    assert requirements.group("a/b") is None
    assert requirements.limits.bounds(["a/b"], LocalModelConfig()).limit is None
