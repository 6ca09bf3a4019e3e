"""Protobuf bodies, built here byte by byte."""

from __future__ import annotations

import pytest

from localmodel.runtime.errors import BadRequestError, UnsupportedMediaTypeError
from localmodel.sandbox.apiserver.protobuf import MAGIC, decode_object


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def body(api_version: str, kind: str, message: bytes) -> bytes:
    type_meta = field(1, api_version) + field(2, kind)
    return MAGIC + field(1, type_meta) + field(2, message) + field(3, "") + field(4, "")


METADATA = field(1, field(1, "x") + field(2, "") + field(11, field(1, "k") + field(2, "v")) + field(8, b""))


def test_a_config_map() -> None:
    data = field(2, field(1, "a") + field(2, "b"))
    binary = field(3, field(1, "c") + field(2, b"\x00\xff"))
    assert decode_object(body("v1", "ConfigMap", METADATA + data + binary)) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "x", "labels": {"k": "v"}},
        "data": {"a": "b"},
        "binaryData": {"c": "AP8="},
    }


def test_zeros_behind_pointers_are_kept_and_others_left_out() -> None:
    spec = field(1, 0) + field(5, 0)
    decoded = decode_object(body("apps/v1", "Deployment", METADATA + field(2, spec) + field(3, b"")))
    assert decoded["spec"] == {"replicas": 0}
    assert "status" not in decoded


def test_managed_fields_are_json_within() -> None:
    entry = field(1, "kubectl") + field(2, "Update") + field(7, field(1, '{"f:data":{}}'))
    metadata = field(1, field(1, "x") + field(17, entry))
    decoded = decode_object(body("v1", "ConfigMap", metadata))
    managed = {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:data": {}}}
    assert decoded["metadata"]["managedFields"] == [managed]


def test_every_group_has_delete_options() -> None:
    assert decode_object(body("rbac.authorization.k8s.io/v1", "DeleteOptions", field(1, 0)))["gracePeriodSeconds"] == 0


def test_negative_numbers_quantities_and_int_or_string() -> None:
    assert decode_object(body("scheduling.k8s.io/v1", "PriorityClass", METADATA + field(2, -5)))["value"] == -5
    hard = field(1, field(1, "cpu") + field(2, field(1, "500m")))
    assert decode_object(body("v1", "ResourceQuota", METADATA + field(2, hard)))["spec"] == {"hard": {"cpu": "500m"}}
    percent = field(1, field(1, 1) + field(2, 0) + field(3, "50%"))
    budget = decode_object(body("policy/v1", "PodDisruptionBudget", METADATA + field(2, percent)))
    assert budget["spec"] == {"minAvailable": "50%"}


@pytest.mark.parametrize("data", [b"", b"k8s", b"{}", MAGIC + b"\xff", body("v1", "ConfigMap", b"\x0a\xff")])
def test_what_is_no_protobuf_is_a_bad_request(data: bytes) -> None:
    with pytest.raises((BadRequestError, UnsupportedMediaTypeError)):
        decode_object(data)


def test_unknown_kinds_and_fields_are_refused_not_dropped() -> None:
    with pytest.raises(UnsupportedMediaTypeError, match=r"example\.com/v1 Widget"):
        decode_object(body("example.com/v1", "Widget", b""), "Widget")
    with pytest.raises(UnsupportedMediaTypeError, match="field 77 of the protobuf form of ConfigMap"):
        decode_object(body("v1", "ConfigMap", field(77, "x")))
