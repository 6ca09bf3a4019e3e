"""Discovery: what is learnt from a server, and how often it is asked."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from support.scripted import StepClock

from localmodel.runtime.errors import NoKindMatchError, NotFoundError, ServiceUnavailableError, TransportError
from localmodel.runtime.objects import RESTMapping
from localmodel.runtime.restmapper import REFRESH_PERIOD, DiscoveryRESTMapper


def resource(plural: str, kind: str, scope: str = "Namespaced", subresources: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "resource": plural,
        "responseKind": {"group": "", "version": "v1", "kind": kind},
        "scope": scope,
        "subresources": [{"subresource": name, "responseKind": {"kind": kind}} for name in subresources],
    }


def aggregated(**groups: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Groups of versions of resources; the core group is named `core`."""
    items = [
        {
            "metadata": {"name": "" if group == "core" else group.replace("_", ".")},
            "versions": [{"version": version, "resources": found} for version, found in versions.items()],
        }
        for group, versions in groups.items()
    ]
    return {"kind": "APIGroupDiscoveryList", "items": items}


CORE = aggregated(core={"v1": [resource("nodes", "Node", "Cluster"), resource("pods", "Pod", subresources=("log",))]})


class Server:
    """Answers by path; an exception is raised. `asked` are the paths, `accepts` what was accepted."""

    def __init__(self, **documents: Any) -> None:
        self.documents: dict[str, Any] = {"/api": CORE, "/apis": aggregated(), **documents}
        self.asked: list[str] = []
        self.accepts: list[str] = []

    def request(self, method: str, path: str, *, accept: str) -> bytes:
        self.asked.append(path)
        self.accepts.append(accept)
        document = self.documents.get(path, NotFoundError.of(f"no {path}"))
        if isinstance(document, Exception):
            raise document
        return json.dumps(document).encode()


def test_a_kind_is_mapped_to_its_path_and_scope() -> None:
    server = Server()
    mapper = DiscoveryRESTMapper(server)
    assert mapper.mapping("", "Node") == RESTMapping.of("", "v1", "Node", "nodes", namespaced=False)
    pods = mapper.resource("", "Pod", "v1")
    assert pods.mapping.path("ns", "p") == "/api/v1/namespaces/ns/pods/p"
    assert pods.subresources == {"log"}
    assert server.asked == ["/api", "/apis"]
    assert "as=APIGroupDiscoveryList" in server.accepts[0]


def test_without_a_version_the_one_that_the_server_prefers_is_taken() -> None:
    widgets = [resource("widgets", "Widget")]
    mapper = DiscoveryRESTMapper(Server(**{"/apis": aggregated(example_com={"v2": widgets, "v1": widgets})}))
    assert mapper.mapping("example.com", "Widget").gvk.version == "v2"
    assert mapper.mapping("example.com", "Widget", "v1").gvk.version == "v1"


def test_what_is_served_as_a_subresource_only_is_no_kind() -> None:
    only = {"resource": "widgets", "responseKind": None, "scope": "Namespaced"}
    mapper = DiscoveryRESTMapper(Server(**{"/apis": aggregated(example_com={"v1": [only]})}))
    with pytest.raises(NoKindMatchError):
        mapper.mapping("example.com", "Widget")


def test_a_miss_asks_again_but_not_before_ten_seconds_have_passed() -> None:
    server, clock = Server(), StepClock()
    mapper = DiscoveryRESTMapper(server, clock=clock)
    for _ in range(5):
        with pytest.raises(NoKindMatchError, match=r"no Widget in example\.com/v1: install"):
            mapper.mapping("example.com", "Widget", "v1")
    assert len(server.asked) == 2
    server.documents["/apis"] = aggregated(example_com={"v1": [resource("widgets", "Widget")]})
    with pytest.raises(NoKindMatchError):
        mapper.mapping("example.com", "Widget")
    clock.wait_event(threading.Event(), 10)
    assert mapper.mapping("example.com", "Widget").plural == "widgets"
    assert mapper.mapping("", "Node").plural == "nodes"
    assert len(server.asked) == 4


def test_a_discovery_that_fails_is_an_error_and_is_tried_again_at_once() -> None:
    server = Server(**{"/api": TransportError("refused")})
    mapper = DiscoveryRESTMapper(server, clock=StepClock())
    with pytest.raises(TransportError):
        mapper.mapping("", "Node")
    server.documents["/api"] = CORE
    assert mapper.mapping("", "Node").plural == "nodes"


def test_many_threads_that_miss_ask_once() -> None:
    server = Server()
    mapper = DiscoveryRESTMapper(server)
    start, found = threading.Barrier(8), []

    def look() -> None:
        start.wait(10)
        found.append(mapper.mapping("", "Node"))

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 8
    assert server.asked == ["/api", "/apis"]


def legacy(*names: tuple[str, str]) -> dict[str, Any]:
    return {"resources": [{"name": name, "kind": kind, "namespaced": True} for name, kind in names]}


def test_a_server_without_aggregated_discovery_is_walked_and_a_group_that_fails_is_left_out() -> None:
    groups = [
        {
            "name": "apps",
            "versions": [{"version": "v1beta1"}, {"version": "v1"}],
            "preferredVersion": {"version": "v1"},
        },
        {"name": "metrics.k8s.io", "versions": [{"version": "v1"}], "preferredVersion": {"version": "v1"}},
        {"name": "gone.io", "versions": [{"version": "v1"}], "preferredVersion": {"version": "v1"}},
    ]
    server = Server(
        **{
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/api/v1": legacy(("pods", "Pod"), ("pods/log", "Pod")),
            "/apis": {"kind": "APIGroupList", "groups": groups},
            "/apis/apps/v1": legacy(("deployments", "Deployment"), ("deployments/scale", "Scale")),
            "/apis/apps/v1beta1": legacy(("deployments", "Deployment")),
            "/apis/metrics.k8s.io/v1": ServiceUnavailableError.of("the metrics server is down"),
        }
    )
    mapper = DiscoveryRESTMapper(server)
    assert mapper.resource("apps", "Deployment").subresources == {"scale"}
    assert mapper.mapping("apps", "Deployment").gvk.version == "v1"
    assert mapper.mapping("apps", "Deployment", "v1beta1").gvk.version == "v1beta1"
    assert mapper.resource("", "Pod").subresources == {"log"}
    with pytest.raises(NoKindMatchError):
        mapper.mapping("autoscaling", "Scale")


def partly(metrics: Any) -> Server:
    """A server without aggregated discovery, with a group whose document is `metrics`."""
    group = {"name": "metrics.k8s.io", "versions": [{"version": "v1"}], "preferredVersion": {"version": "v1"}}
    return Server(
        **{
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/api/v1": legacy(("pods", "Pod")),
            "/apis": {"kind": "APIGroupList", "groups": [group]},
            "/apis/metrics.k8s.io/v1": metrics,
        }
    )


@pytest.mark.parametrize("document", [{"resources": [{"name": 5}]}, {"resources": None}, "not an object"])
def test_a_group_whose_document_is_malformed_does_not_hide_the_rest(document: Any) -> None:
    mapper = DiscoveryRESTMapper(partly(document))
    assert mapper.mapping("", "Pod").plural == "pods"


def test_a_kind_of_a_group_that_cannot_be_asked_is_not_said_to_be_missing() -> None:
    mapper = DiscoveryRESTMapper(partly(ServiceUnavailableError.of("the metrics server is down")))
    with pytest.raises(ServiceUnavailableError, match="the metrics server is down"):
        mapper.mapping("metrics.k8s.io", "PodMetrics")
    with pytest.raises(NoKindMatchError):
        mapper.mapping("", "PodMetrics")


def test_what_was_learnt_of_a_group_is_kept_while_it_cannot_be_asked() -> None:
    clock = StepClock()
    server = partly(legacy(("pods", "PodMetrics")))
    mapper = DiscoveryRESTMapper(server, clock=clock)
    assert mapper.mapping("metrics.k8s.io", "PodMetrics").plural == "pods"
    server.documents["/apis/metrics.k8s.io/v1"] = TransportError("refused")
    clock.advance(REFRESH_PERIOD)
    with pytest.raises(NoKindMatchError):
        mapper.mapping("", "Widget")
    assert mapper.mapping("metrics.k8s.io", "PodMetrics").plural == "pods"


def test_a_stale_version_of_an_aggregated_document_is_not_said_to_lack_a_kind() -> None:
    groups = aggregated(metrics_k8s_io={"v1": []})
    groups["items"][0]["versions"][0]["freshness"] = "Stale"
    mapper = DiscoveryRESTMapper(Server(**{"/apis": groups}))
    with pytest.raises(ServiceUnavailableError):
        mapper.mapping("metrics.k8s.io", "PodMetrics")


def test_an_answer_that_is_no_discovery_is_no_answer() -> None:
    with pytest.raises(TransportError, match="no discovery document"):
        DiscoveryRESTMapper(Server(**{"/api": ["a proxy's page"]})).mapping("", "Pod")
