"""What a mount of a claim may show, and the change to a claim of one model."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from localmodel.manager.claims import Exposure
from localmodel.manager.podmounts import ClaimVolume, Mount, claim_volumes, fault_of, mounts_of, show_single
from localmodel.runtime.objects import ObjectKey

KEY, OTHER = "89da10faf446bbf1", "c277d78a31bc6624"
WHOLE = Exposure(cache=ObjectKey("", "iris"), key=KEY)
SINGLE = Exposure(cache=ObjectKey("", "iris"), key=KEY, single=True)
DOWNLOADS = Exposure(cache=ObjectKey("", "iris"), key=KEY, downloads=True)
GONE = Exposure(cache=ObjectKey("", "iris"))


@pytest.mark.parametrize(
    ("path", "read_only", "exposure", "fault"),
    [
        (f"models/{KEY}", True, WHOLE, ""),
        (f"models/{KEY}/", True, WHOLE, ""),
        (f"models/{KEY}//v1", True, WHOLE, ""),
        (f"models/{KEY}/$(VERSION)", True, WHOLE, ""),
        (f"models/{KEY}", False, WHOLE, "writable"),
        ("", True, WHOLE, "without a sub-path"),
        ("models", True, WHOLE, "with sub-path models"),
        (f"models/{OTHER}", True, WHOLE, f"with sub-path models/{OTHER}"),
        (f"models/{KEY}0", True, WHOLE, f"with sub-path models/{KEY}0"),
        (f"models/{KEY}/../{OTHER}", True, WHOLE, f"with sub-path models/{KEY}/../{OTHER}"),
        ("models/$(KEY)", True, WHOLE, "with sub-path models/$(KEY)"),
        (f"other/{KEY}", True, WHOLE, f"with sub-path other/{KEY}"),
        (f"models/.staging/{KEY}", True, WHOLE, f"with sub-path models/.staging/{KEY}"),
        (f"models/.staging/{KEY}", False, DOWNLOADS, ""),
        (f"models/.staging/{KEY}/x", False, DOWNLOADS, ""),
        (f"models/.staging/{OTHER}", False, DOWNLOADS, f"with sub-path models/.staging/{OTHER}"),
        (f"models/.staging/{KEY}/../{OTHER}", False, DOWNLOADS, f"with sub-path models/.staging/{KEY}/../{OTHER}"),
        ("models/.staging", False, DOWNLOADS, "with sub-path models/.staging"),
        (f"models/{KEY}", True, DOWNLOADS, ""),
        (f"models/{KEY}", False, DOWNLOADS, "writable"),
        ("", True, SINGLE, ""),
        ("v1", True, SINGLE, ""),
        ("", False, SINGLE, "writable"),
        (f"models/{OTHER}", True, GONE, ""),
        ("models/.staging", True, GONE, "with sub-path models/.staging"),
    ],
)
def test_what_a_mount_may_show(path: str, read_only: bool, exposure: Exposure, fault: str) -> None:
    assert fault_of(Mount("c", path, read_only), exposure) == fault


def pod(*mounts: dict[str, Any], field: str = "containers", **source: Any) -> dict[str, Any]:
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": "iris-gpu", **source}}
    mounts = copy.deepcopy(mounts)
    return {
        "spec": {
            "volumes": [{"name": "tmp", "emptyDir": {}}, volume],
            field: [{"name": "c", "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, *mounts]}],
        }
    }


def mount(path: str = "/mnt/models", **more: Any) -> dict[str, Any]:
    return {"name": "v", "mountPath": path, **more}


@pytest.mark.parametrize("field", ["initContainers", "containers", "ephemeralContainers"])
def test_mounts_are_found_in_containers_of_every_sort(field: str) -> None:
    it = pod(mount(subPath="x"), field=field)
    (volume,) = claim_volumes(it)
    assert list(mounts_of(it, volume)) == [Mount("c", "x", False)]


def test_a_mount_is_read_only_by_itself_or_by_its_volume() -> None:
    for it in (pod(mount(readOnly=True)), pod(mount(), readOnly=True)):
        (volume,) = claim_volumes(it)
        assert [found.is_read_only for found in mounts_of(it, volume)] == [True]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (mount(subPath=f"models/{KEY}", readOnly=True), mount(readOnly=True)),
        (mount(subPath=f"models/{KEY}/"), mount()),
        (mount(subPath=f"models/{KEY}/v1/a"), mount(subPath="v1/a")),
        (mount(subPathExpr=f"models/{KEY}/$(V)"), mount(subPathExpr="$(V)")),
        (mount("/mnt/pvc"), mount(f"/mnt/pvc/models/{KEY}")),
        (mount("/mnt/pvc", subPath="models"), mount(f"/mnt/pvc/{KEY}")),
    ],
)
@pytest.mark.parametrize("field", ["initContainers", "containers"])
def test_each_path_shows_what_it_showed(field: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    it = pod(before, field=field)
    assert show_single(it, ClaimVolume("v", "iris-gpu", False), KEY, "single")
    expected = pod(after, field=field)
    expected["spec"]["volumes"][1]["persistentVolumeClaim"]["claimName"] = "single"
    assert it == expected


@pytest.mark.parametrize("path", [f"models/{OTHER}", "other", f"models/.staging/{KEY}", "models/$(KEY)"])
def test_a_mount_of_something_else_leaves_all_as_it_is(path: str) -> None:
    it = pod(mount(subPath=f"models/{KEY}"), mount("/other", subPath=path))
    before = copy.deepcopy(it)
    assert not show_single(it, ClaimVolume("v", "iris-gpu", False), KEY, "single")
    assert it == before
