"""What the manifests of config/ say, by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from support.rights import MANAGER, shipped_rights

from localmodel.sandbox import install

CONFIG = Path(__file__).parents[3] / "config"
KINDS = ("localmodelcaches", "localmodelnamespacecaches", "localmodelnodegroups", "localmodelnodes")


def documents(*path: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(CONFIG.joinpath(*path).read_text()) if document]


def manager() -> dict[str, Any]:
    (deployment,) = documents("manager", "manager.yaml")
    return dict(deployment["spec"]["template"]["spec"]["containers"][0])


def granted(group: str, resource: str) -> set[str]:
    rights = [right for right in shipped_rights() if right.user == MANAGER]
    return {right.verb for right in rights if (right.group, right.resource) == (group, resource)}


def test_one_manager_works_at_a_time_and_has_the_right_to_the_lease_d71() -> None:
    assert "--leader-elect" in manager()["args"]
    assert granted("coordination.k8s.io", "leases") == {"get", "create", "update"}


@pytest.mark.parametrize("plural", KINDS)
@pytest.mark.parametrize("set_", ["full", "minimal"])
def test_every_kind_shows_its_state_in_kubectl_get_d72(plural: str, set_: str) -> None:
    directory = ("crd",) if set_ == "full" else ("crd", "minimal")
    (definition,) = documents(*directory, f"serving.kserve.io_{plural}.yaml")
    (version,) = definition["spec"]["versions"]
    shown = [column["jsonPath"] for column in version["additionalPrinterColumns"]]
    assert any(path.startswith(".status") for path in shown)
    assert ".metadata.creationTimestamp" in shown
    assert definition["spec"]["names"]["shortNames"]


def test_events_may_be_written_and_both_programs_serve_metrics_and_health_d72() -> None:
    assert granted("events.k8s.io", "events") == granted("", "events") == {"create", "patch"}
    (daemon_set,) = documents("agent", "manager.yaml")
    for container in (manager(), daemon_set["spec"]["template"]["spec"]["containers"][0]):
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert "metrics" in {port["name"] for port in container["ports"]}


@pytest.mark.parametrize("name", ["localmodelcache", "localmodelnamespacecache"])
def test_the_certificates_names_are_those_of_the_service_that_the_webhooks_name_d84(name: str) -> None:
    (certificate,) = [d for d in documents("certmanager", "certificate.yaml") if d["kind"] == "Certificate"]
    (service,) = documents("webhook", "service.yaml")
    address = f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc"
    assert address in certificate["spec"]["dnsNames"]
    assert certificate["metadata"]["namespace"] == service["metadata"]["namespace"]
    configurations = {d["metadata"]["name"]: d for d in documents("webhook", "manifests.yaml")}
    configuration = configurations[f"{name}.serving.kserve.io"]
    for hook in configuration["webhooks"]:
        named = hook["clientConfig"]["service"]
        assert f"{named['name']}.{named['namespace']}.svc" == address
    injected = configuration["metadata"]["annotations"]["cert-manager.io/inject-ca-from"]
    assert injected == f"{certificate['metadata']['namespace']}/{certificate['metadata']['name']}"


def test_what_is_needed_beside_kserve_is_in_the_manifests_d86() -> None:
    """The job namespace, an Issuer of our own, room to work in; more than one replica may run (D-71)."""
    namespaces = {d["metadata"]["name"] for d in documents("namespaces", "namespaces.yaml")}
    assert install.JOB_NAMESPACE in namespaces
    certificates = {d["kind"]: d for d in documents("certmanager", "certificate.yaml")}
    assert certificates["Certificate"]["spec"]["issuerRef"]["name"] == certificates["Issuer"]["metadata"]["name"]
    assert manager()["resources"]["limits"]["cpu"] == "1"
