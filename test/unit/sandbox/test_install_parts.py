"""What the sandbox installs agrees with what `config/` gives to a real cluster."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from localmodel.api.names import CONFIG_MAP_NAME
from localmodel.runtime.objects import ConfigMap
from localmodel.runtime.testing import FakeClient
from localmodel.sandbox.install import NAMESPACE, install_cluster, storage_class

SAMPLES = Path(__file__).parents[3] / "config" / "samples"


def test_the_samples_storage_class_can_be_applied_to_a_sandbox() -> None:
    """Every field of a StorageClass is immutable."""
    assert yaml.safe_load((SAMPLES / "storageclass.yaml").read_text()) == storage_class()


def test_a_configuration_that_somebody_has_edited_outlives_the_next_start() -> None:
    client = FakeClient()
    install_cluster(client, [])
    edited = client.get(ConfigMap, CONFIG_MAP_NAME, namespace=NAMESPACE)
    edited.data["localModel"] = '{"downloadMode": "Agent"}'
    client.update(edited)

    install_cluster(client, [])
    assert client.get(ConfigMap, CONFIG_MAP_NAME, namespace=NAMESPACE).data == edited.data

    install_cluster(client, [], config={"downloadMode": "Job"})
    asked = client.get(ConfigMap, CONFIG_MAP_NAME, namespace=NAMESPACE).data["localModel"]
    assert json.loads(asked)["downloadMode"] == "Job"
