"""The DaemonSet that a group asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from support.manager import group

from localmodel.api import LocalModelConfig, LocalModelNodeGroup
from localmodel.api.config import InferenceServiceConfig
from localmodel.api.names import NODE_GROUP_LABEL, agent_daemon_set_name, group_label_value
from localmodel.manager.agents import (
    InvalidAgentError,
    agent_request,
    has_what_is_wanted,
    wanted_daemon_set,
)
from localmodel.runtime.objects import ConfigMap, DaemonSet

MANIFEST = Path(__file__).parents[3] / "config" / "agent" / "manager.yaml"
LONG = "a" * 70


def asking(agent: dict[str, Any] | None = None, **options: Any) -> LocalModelNodeGroup:
    """A group with spec.agent, as read from the API server."""
    made = group(**options)
    document = made.to_dict()
    document["metadata"]["uid"] = f"uid-of-{made.name}"
    document["spec"]["agent"] = {"image": "agent:1"} if agent is None else agent
    return LocalModelNodeGroup.from_dict(document)


def config(**keys: str) -> LocalModelConfig:
    return LocalModelConfig.from_dict(keys)


def wanted(of: LocalModelNodeGroup, **keys: str) -> DaemonSet:
    request = agent_request(of, config(**keys))
    assert request is not None
    return wanted_daemon_set(of, request, "kserve")


def pod_spec(daemon_set: DaemonSet) -> dict[str, Any]:
    spec: dict[str, Any] = daemon_set.spec["template"]["spec"]
    return spec


def test_its_pods_are_those_of_the_shipped_manifest_but_for_path_placement_and_image_d12() -> None:
    shipped = yaml.safe_load(MANIFEST.read_text())["spec"]["template"]["spec"]
    made = pod_spec(wanted(asking(path="/data/models")))
    del shipped["nodeSelector"]
    del made["affinity"]
    assert made["volumes"][0].pop("hostPath") == {"path": "/data/models", "type": "DirectoryOrCreate"}
    del shipped["volumes"][0]["hostPath"]
    assert made["containers"][0].pop("image") == "agent:1"
    del shipped["containers"][0]["image"]
    assert made == shipped


def test_it_runs_where_the_group_is_on_nodes_whose_agents_are_the_groups_d39() -> None:
    of = asking()
    terms = of.spec.persistent_volume_spec["nodeAffinity"]["required"]["nodeSelectorTerms"]
    terms += [{}, {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]}]
    own = {"key": NODE_GROUP_LABEL, "operator": "In", "values": ["gpu"]}
    affinity = pod_spec(wanted(of))["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert affinity["nodeSelectorTerms"] == [
        {"matchExpressions": [{"key": "pool", "operator": "In", "values": ["gpu"]}, own]},
        {"matchFields": terms[2]["matchFields"], "matchExpressions": [own]},
    ]


def test_its_selector_is_no_other_daemon_sets() -> None:
    labels = wanted(asking()).spec["selector"]["matchLabels"]
    assert labels == {"control-plane": "kserve-localmodelnode-agent", NODE_GROUP_LABEL: "gpu"}
    assert labels.items() <= wanted(asking()).spec["template"]["metadata"]["labels"].items()


def test_the_group_controls_it() -> None:
    reference = wanted(asking()).metadata.owner_references[0]
    assert (reference.kind, reference.name, reference.uid, reference.controller) == (
        "LocalModelNodeGroup",
        "gpu",
        "uid-of-gpu",
        True,
    )
    assert not reference.block_owner_deletion


def test_a_group_without_agent_asks_for_none_unless_the_configuration_does() -> None:
    assert agent_request(group(), config()) is None
    request = agent_request(group(), config(localModelAgentImage="configured"))
    assert request is not None
    assert (request.image, request.by_group) == ("configured", False)


def test_what_the_group_leaves_out_comes_from_the_configuration() -> None:
    made = pod_spec(wanted(asking({}), localModelAgentImage="configured", localModelAgentCpuRequest="1"))
    assert made["containers"][0]["image"] == "configured"
    assert made["containers"][0]["resources"] == {"requests": {"cpu": "1"}}


def test_the_default_limit_has_room_for_an_agents_own_downloads() -> None:
    def limit(local_model: str, initializer: str = "{}", **keys: str) -> Any:
        data = {"localModel": local_model, "storageInitializer": initializer}
        read = InferenceServiceConfig.from_config_map(ConfigMap.from_dict({"metadata": {"name": "c"}, "data": data}))
        request = agent_request(asking(), config(**keys), downloads_memory=read.agent_downloads_memory)
        assert request is not None
        return request.resources.get("limits", {}).get("memory")

    assert limit("{}") == "300Mi"
    assert limit('{"downloadMode": "Agent"}') == f"{300 + 4 * 256}Mi"
    assert limit('{"downloadMode": "Agent", "maxConcurrentDownloadsPerNode": 2}', '{"memoryLimit": "1G"}') == "2208Mi"
    assert limit('{"downloadMode": "Agent"}', localModelAgentMemoryLimit="500Mi") == "500Mi"


def test_the_group_comes_before_the_configuration() -> None:
    tolerations = [{"key": "gpu", "operator": "Exists"}]
    agent = {"image": "own", "resources": {"limits": {"cpu": "2"}}, "tolerations": tolerations}
    made = pod_spec(wanted(asking(agent), localModelAgentImage="configured", localModelAgentCpuRequest="1"))
    assert made["containers"][0]["image"] == "own"
    assert made["containers"][0]["resources"] == {"limits": {"cpu": "2"}}
    assert made["tolerations"] == tolerations


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("agent", "localModelAgentImage"),
        ("local", "local.path"),
        ("nodeAffinity", "names no nodes"),
    ],
)
def test_what_is_missing_is_said(missing: str, message: str) -> None:
    of = asking({} if missing == "agent" else None)
    of.spec.persistent_volume_spec.pop(missing, None)
    with pytest.raises(InvalidAgentError, match=message):
        wanted(of)


def test_an_affinity_of_another_shape_is_no_traceback() -> None:
    of = asking()
    of.spec.persistent_volume_spec["nodeAffinity"] = {"required": {"nodeSelectorTerms": "all"}}
    with pytest.raises(InvalidAgentError, match="not a node selector"):
        wanted(of)


def test_long_names_get_a_hash_d43() -> None:
    assert (agent_daemon_set_name("gpu"), group_label_value("gpu")) == ("gpu-agent", "gpu")
    names = {agent_daemon_set_name(LONG), agent_daemon_set_name(LONG + "b")}
    values = {group_label_value(LONG), group_label_value(LONG + "b")}
    assert {len(name) for name in names | values} == {63}
    assert (len(names), len(values)) == (2, 2)


def test_defaults_and_other_spellings_of_the_server_are_no_difference() -> None:
    made = wanted(asking({"image": "a", "resources": {"limits": {"cpu": "1000m"}}}))
    stored = made.deepcopy()
    pod_spec(stored)["containers"][0]["resources"] = {"limits": {"cpu": "1"}}
    pod_spec(stored)["dnsPolicy"] = "ClusterFirst"
    assert has_what_is_wanted(stored, made)


@pytest.mark.parametrize("cpu", ["500m", "900m"])
def test_a_changed_amount_is_a_difference(cpu: str) -> None:
    made = wanted(asking({"image": "a", "resources": {"limits": {"cpu": "1"}}}))
    stored = made.deepcopy()
    pod_spec(stored)["containers"][0]["resources"] = {"limits": {"cpu": cpu}}
    assert not has_what_is_wanted(stored, made)


def test_what_is_not_wanted_any_more_is_a_difference() -> None:
    stored = wanted(asking({"image": "a", "tolerations": [{"operator": "Exists"}]}))
    assert not has_what_is_wanted(stored, wanted(asking({"image": "a"})))
