"""The CRDs' schemas and rules, asked the way an API server asks them."""

from __future__ import annotations

from typing import Any

import pytest

from localmodel.api.crd import crds
from localmodel.sandbox.apiserver.cel import RuleSet
from localmodel.sandbox.apiserver.schema import Schema, compile_schema
from localmodel.sandbox.apiserver.structural import structural_faults
from localmodel.sandbox.apiserver.validation import validate

SPEC: dict[str, Any] = {"sourceModelUri": "hf://o/m", "modelSize": "10Gi", "nodeGroups": ["gpu"]}


def raw(*, minimal: bool = False, index: int = 0) -> dict[str, Any]:
    schema: dict[str, Any] = crds(minimal=minimal)[index]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def schema(*, minimal: bool = False) -> Schema:
    return compile_schema(raw(minimal=minimal))


def cache(spec: dict[str, Any] | None) -> dict[str, Any]:
    obj: dict[str, Any] = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "LocalModelCache",
        "metadata": {"name": "iris"},
    }
    return obj if spec is None else {**obj, "spec": spec}


def refusals(old: dict[str, Any] | None, new: dict[str, Any] | None, *, minimal: bool = False) -> list[str]:
    faults = RuleSet(schema(minimal=minimal)).validate(cache(new), cache(old))
    return [fault["message"] for fault in faults]


@pytest.mark.parametrize("minimal", [False, True])
@pytest.mark.parametrize("index", range(5))
def test_every_schema_is_accepted_by_an_api_server(index: int, minimal: bool) -> None:
    assert structural_faults(raw(minimal=minimal, index=index), "schema") == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"nodeGroups": []}, "spec.nodeGroups"),
        ({"nodeGroups": "gpu"}, "spec.nodeGroups"),
        ({"modelSize": "many"}, "spec.modelSize"),
        ({"evictionPolicy": "Sometimes"}, "spec.evictionPolicy"),
        ({"ttlSecondsAfterLastUse": -1}, "spec.ttlSecondsAfterLastUse"),
    ],
)
def test_a_bad_value_is_refused_by_field(change: dict[str, Any], field: str) -> None:
    assert [fault["field"] for fault in validate(schema(), cache({**SPEC, **change}))] == [field]


@pytest.mark.parametrize("missing", list(SPEC))
def test_a_required_field_is_missed(missing: str) -> None:
    spec = {key: value for key, value in SPEC.items() if key != missing}
    assert [fault["field"] for fault in validate(schema(), cache(spec))] == [f"spec.{missing}"]


@pytest.mark.parametrize("size", ["10Gi", "1.7T", 500, "5e9", "0.5"])
def test_sizes_are_quantities(size: Any) -> None:
    assert validate(schema(), cache({**SPEC, "modelSize": size})) == []


@pytest.mark.parametrize("minimal", [False, True])
def test_the_uri_cannot_be_changed(minimal: bool) -> None:
    said = refusals(SPEC, {**SPEC, "sourceModelUri": "hf://o/other"}, minimal=minimal)
    assert len(said) == 1
    assert "StorageUri is immutable" in said[0]
    assert refusals(SPEC, {**SPEC, "modelSize": "11Gi"}, minimal=minimal) == []


@pytest.mark.parametrize("minimal", [False, True])
def test_the_spec_cannot_be_taken_away_and_put_back_changed_d28(minimal: bool) -> None:
    assert "immutable" in refusals(SPEC, None, minimal=minimal)[0]
    assert refusals(None, SPEC, minimal=minimal) == []
    assert refusals(None, None, minimal=minimal) == []
