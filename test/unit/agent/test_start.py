"""What an agent reads before it starts."""

from __future__ import annotations

import pytest

from localmodel.agent.program import read_jobs_namespace
from localmodel.runtime.objects import ConfigMap, ObjectMeta
from localmodel.runtime.testing import FakeClient


@pytest.mark.parametrize(
    ("text", "namespace"),
    [
        ("{}", "kserve-localmodel-jobs"),
        ('{"jobNamespace": "jobs"}', "jobs"),
        ('{"jobNamespace": "jobs", "fsGroup": -1}', "jobs"),
        ('{"jobNamespace": "_"}', "kserve-localmodel-jobs"),
        ("{", "kserve-localmodel-jobs"),
    ],
)
def test_another_wrong_value_does_not_move_the_job_namespace(text: str, namespace: str) -> None:
    metadata = ObjectMeta(name="inferenceservice-config", namespace="kserve")
    client = FakeClient(ConfigMap(metadata=metadata, data={"localModel": text}))
    assert read_jobs_namespace(client, "kserve") == namespace
