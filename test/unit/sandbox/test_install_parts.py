"""What the sandbox installs agrees with what `config/` gives to a real cluster."""

from __future__ import annotations

from pathlib import Path

import yaml

from localmodel.sandbox.install import storage_class

SAMPLES = Path(__file__).parents[3] / "config" / "samples"


def test_the_samples_storage_class_can_be_applied_to_a_sandbox() -> None:
    """Every field of a StorageClass is immutable."""
    assert yaml.safe_load((SAMPLES / "storageclass.yaml").read_text()) == storage_class()
