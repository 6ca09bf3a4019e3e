"""Lists: resource version semantics, selectors, pages and their expiry (promise 203 of runtimes.md, and 5.4)."""

from __future__ import annotations

import pytest
from support.widgets import NS, PODS, WIDGETS, names, widget

from localmodel.runtime.client import MERGE_PATCH
from localmodel.runtime.errors import (
    BadRequestError,
    ExpiredError,
    InvalidError,
    ServerTimeoutError,
    is_too_large_resource_version,
)
from localmodel.runtime.listwatch import ListOptions
from localmodel.runtime.testing import Registry


@pytest.fixture
def registry() -> Registry:
    """Five widgets a to e at revisions 1 to 5, of which b and d are blue."""
    registry = Registry()
    for name in "abcde":
        colour = "blue" if name in "bd" else "red"
        registry.create(WIDGETS, NS, widget(name, labels={"colour": colour}, colour=colour))
    return registry


def listed(registry: Registry, **options: object) -> list[str]:
    return names(registry.list(WIDGETS, ListOptions(**options)))  # type: ignore[arg-type]


def test_a_list_has_the_revision_of_the_whole_store(registry: Registry) -> None:
    registry.create(PODS, NS, widget("p"))
    assert registry.list(WIDGETS).resource_version == "6"


@pytest.mark.parametrize("version", ["", "0", "3"])
def test_a_version_that_may_be_newer_gives_the_newest(registry: Registry, version: str) -> None:
    assert listed(registry, resource_version=version) == list("abcde")
    if version:
        assert listed(registry, resource_version=version, resource_version_match="NotOlderThan") == list("abcde")


def test_an_exact_version_gives_that_state(registry: Registry) -> None:
    registry.delete(WIDGETS, NS, "a")
    page = registry.list(WIDGETS, ListOptions(resource_version="3", resource_version_match="Exact"))
    assert (names(page), page.resource_version) == (list("abc"), "3")


def test_a_limit_with_a_version_and_no_match_is_exact(registry: Registry) -> None:
    assert listed(registry, resource_version="3", limit=10) == list("abc")


def test_a_list_at_any_version_is_not_paged(registry: Registry) -> None:
    """kube-apiserver answers it from its watch cache, which takes no limit."""
    page = registry.list(WIDGETS, ListOptions(resource_version="0", limit=2))
    assert (len(page.items), page.continue_) == (len(registry.list(WIDGETS, ListOptions()).items), "")
    assert len(page.items) > 2


@pytest.mark.parametrize("match", ["", "NotOlderThan", "Exact"])
def test_a_version_in_the_future_times_out(registry: Registry, match: str) -> None:
    with pytest.raises(ServerTimeoutError, match="Too large resource version: 99, current: 5") as caught:
        listed(registry, resource_version="99", resource_version_match=match)
    assert is_too_large_resource_version(caught.value)
    assert caught.value.causes == [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    assert caught.value.retry_after == 1


def test_a_get_at_a_version_in_the_future_times_out(registry: Registry) -> None:
    assert registry.get(WIDGETS, NS, "a", resource_version="5")["metadata"]["name"] == "a"
    with pytest.raises(ServerTimeoutError):
        registry.get(WIDGETS, NS, "a", resource_version="6")


def test_an_exact_version_that_is_compacted_has_expired(registry: Registry) -> None:
    registry.store.compact("widgets.example.com")
    with pytest.raises(ExpiredError, match="The resourceVersion for the provided list is too old"):
        listed(registry, resource_version="3", resource_version_match="Exact")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resource_version_match": "Exact"}, "resourceVersionMatch is forbidden unless resourceVersion is provided"),
        ({"resource_version_match": "Exact", "resource_version": "0"}, 'is forbidden for resourceVersion "0"'),
        ({"resource_version_match": "Exact", "continue_": "x"}, "is forbidden when continue is provided"),
        ({"resource_version_match": "Odd", "resource_version": "1"}, "Unsupported value"),
    ],
)
def test_options_that_contradict_are_invalid(registry: Registry, options: dict[str, str], message: str) -> None:
    with pytest.raises(
        InvalidError, match=r'ListOptions\.meta\.k8s\.io "" is invalid: resourceVersionMatch: '
    ) as caught:
        listed(registry, **options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resource_version": "new"}, "invalid syntax"),
        ({"continue_": "%%%"}, "continue key is not valid"),
        ({"continue_": "e30"}, "continue key is not valid"),
        ({"label_selector": "a in"}, "unable to parse"),
        ({"field_selector": "nothing"}, "invalid field selector"),
        ({"field_selector": "spec.size=1"}, r"field label not supported: spec\.size"),
    ],
)
def test_options_that_cannot_be_read_are_bad_requests(
    registry: Registry, options: dict[str, str], message: str
) -> None:
    with pytest.raises(BadRequestError, match=message):
        listed(registry, **options)


def test_pages_are_of_one_state_whatever_happens_between_them(registry: Registry) -> None:
    first = registry.list(WIDGETS, ListOptions(limit=2))
    registry.delete(WIDGETS, NS, "c")
    registry.create(WIDGETS, NS, widget("bb"))
    second = registry.list(WIDGETS, ListOptions(limit=2, continue_=first.continue_))
    third = registry.list(WIDGETS, ListOptions(limit=2, continue_=second.continue_))
    assert [names(page) for page in (first, second, third)] == [["a", "b"], ["c", "d"], ["e"]]
    assert [page.resource_version for page in (first, second, third)] == ["5", "5", "5"]
    assert [page.remaining for page in (first, second, third)] == [3, 1, None]
    assert third.continue_ == ""


def test_pages_of_a_selector_are_full_and_do_not_tell_what_remains(registry: Registry) -> None:
    first = registry.list(WIDGETS, ListOptions(limit=2, label_selector="colour=red"))
    assert (names(first), first.remaining) == (["a", "c"], None)
    assert listed(registry, limit=2, label_selector="colour=red", continue_=first.continue_) == ["e"]


def test_a_continue_token_expires_with_a_fresh_one_to_go_on_inconsistently(registry: Registry) -> None:
    first = registry.list(WIDGETS, ListOptions(limit=2))
    registry.delete(WIDGETS, NS, "c")
    registry.store.compact()
    with pytest.raises(ExpiredError, match="The provided continue parameter is too old") as caught:
        listed(registry, limit=2, continue_=first.continue_)
    fresh = caught.value.status["metadata"]["continue"]
    assert listed(registry, limit=2, continue_=fresh) == ["d", "e"]


def test_a_continue_token_and_a_version_exclude_each_other(registry: Registry) -> None:
    token = registry.list(WIDGETS, ListOptions(limit=2)).continue_
    assert listed(registry, continue_=token, resource_version="0") == ["c", "d", "e"]
    with pytest.raises(BadRequestError, match="specifying resource version is not allowed when using continue"):
        listed(registry, continue_=token, resource_version="5")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"label_selector": "colour=blue"}, "bd"),
        ({"label_selector": "colour in (red, green), colour"}, "ace"),
        ({"field_selector": "metadata.name=c"}, "c"),
        ({"field_selector": "metadata.name!=c,metadata.namespace=ns"}, "abde"),
        ({"field_selector": "spec.colour=blue,metadata.name!=b"}, "d"),
        ({"namespace": "other"}, ""),
    ],
)
def test_203_selectors(registry: Registry, options: dict[str, str], expected: str) -> None:
    assert "".join(listed(registry, **options)) == expected


def test_built_in_kinds_have_their_own_selectable_fields(registry: Registry) -> None:
    for name, node in (("p", "n1"), ("q", "n2")):
        registry.create(PODS, NS, widget(name, nodeName=node))
    registry.patch(PODS, NS, "q", {"status": {"phase": "Running"}}, MERGE_PATCH, subresource="status")
    for fields, expected in (("spec.nodeName=n1", ["p"]), ("status.phase=Running", ["q"]), ("status.phase!=", ["q"])):
        assert names(registry.list(PODS, ListOptions(field_selector=fields))) == expected
