"""The choice of a ClusterStorageContainer."""

from __future__ import annotations

from typing import Any

import pytest

from localmodel.api import ClusterStorageContainer, find_download_container, format_errors, supports


def container(name: str, *formats: dict[str, str], workload: str = "localModelDownloadJob", **top: Any) -> Any:
    return ClusterStorageContainer.from_dict(
        {
            "metadata": {"name": name},
            "spec": {"container": {"image": name}, "supportedUriFormats": list(formats), "workloadType": workload},
            **top,
        }
    )


def test_a_prefix_goes_before_a_regex_and_one_format_is_enough() -> None:
    assert supports(container("a", {"prefix": "s3://"}, {"prefix": "hf://"}), "hf://o/m")
    assert supports(container("a", {"regex": "blob.core"}), "https://x.blob.core.windows.net/m")
    assert not supports(container("a", {"prefix": "s3://", "regex": "hf"}), "hf://o/m")
    assert not supports(container("a", {}), "hf://o/m")


@pytest.mark.parametrize("regex", ["(", "a{1001}", "(?=lookaround)", r"(back)\1"])
def test_a_bad_regex_fits_nothing_and_hides_no_other_format_d42(regex: str) -> None:
    bad = container("bad", {"regex": regex}, {"prefix": "hf://"})
    assert supports(bad, "hf://o/m")
    assert not supports(bad, f"s3://{regex}")
    assert list(format_errors(bad)) == [regex]


@pytest.mark.parametrize("regex", [r"\z", r"\pL", "[[:alpha:]]", "h(?i)F"])
def test_expressions_of_go_are_read_as_in_kserve(regex: str) -> None:
    assert supports(container("a", {"regex": regex}), "hf://o/m")


def test_no_uri_takes_exponential_time() -> None:
    assert not supports(container("a", {"regex": r"^hf://(\w+/?)+$"}), f"hf://{'a' * 10_000}!")


def test_the_first_by_name_that_fits_is_chosen() -> None:
    hf = {"prefix": "hf://"}
    chosen = find_download_container(
        [
            container("d", hf),
            container("c", hf),
            container("b", hf, disabled=True),
            container("a", hf, workload="initContainer"),
            container("0", {"regex": "("}),
        ],
        "hf://o/m",
    )
    assert chosen is not None
    assert chosen.name == "c"
    assert find_download_container([container("c", hf)], "s3://b") is None


def test_a_container_with_a_bad_regex_stops_no_download_d42() -> None:
    containers = [container("a", {"regex": "("}), container("b", {"prefix": "s3://"})]
    assert find_download_container(containers, "hf://o/m") is None
    chosen = find_download_container(containers, "s3://b/m")
    assert chosen is not None
    assert chosen.name == "b"
