"""The agents' admission policies (config/policy): an agent writes what is its own node's, and its whole life passes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.liveagent import AGENT, LiveAgent, entry, policies

from localmodel.agent.additions import Credentials
from localmodel.agent.jobs import DownloadRequest, build_job
from localmodel.api import LocalModelCache, LocalModelNode
from localmodel.api.config import InferenceServiceConfig, LocalModelConfig, StorageInitializerConfig
from localmodel.api.node import LocalModelInfo
from localmodel.runtime.client import Client
from localmodel.runtime.errors import ForbiddenError
from localmodel.runtime.objects import Job
from localmodel.sandbox import install

pytestmark = pytest.mark.own_server("installs roles and policies of fixed names")

Json = dict[str, Any]


@pytest.fixture(scope="module")
def it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveAgent]:
    """Two nodes with LocalModelNodes. Only the last test starts an agent's program."""
    with LiveAgent(tmp_path_factory.mktemp("policies"), audit=True, with_policies=True) as made:
        made.add_node("node-2")
        for node in ("node-1", "node-2"):
            made.want(entry(), node=node)
        yield made


@pytest.fixture(scope="module")
def agent(it: LiveAgent) -> Client:
    """As the agent of node-1."""
    return it.environment.client(token=it.token)


@pytest.fixture(scope="module")
def other(it: LiveAgent) -> Client:
    """As the agent of node-2."""
    return it.environment.client(token=it.bound_token("node-2"))


def download(it: LiveAgent, node: str = "node-1", name: str = "iris", **credentials: Any) -> Job:
    """The Job as an agent makes it."""
    return build_job(
        DownloadRequest(
            node=it.node(node),
            entry=LocalModelInfo.from_dict(entry(name)),
            attempt=1,
            config=InferenceServiceConfig(
                local_model=LocalModelConfig(fs_group=1000), storage_initializer=StorageInitializerConfig()
            ),
            credentials=Credentials(**credentials),
        )
    )


def said(node: LocalModelNode) -> LocalModelNode:
    node.status.model_status["iris"] = "ModelDownloadPending"
    return node


def test_an_agent_writes_the_status_of_its_own_node_and_of_no_other_d20(it: LiveAgent, agent: Client) -> None:
    agent.status.update(said(it.node("node-1")))
    with pytest.raises(ForbiddenError, match="the agent of node node-1 may not write LocalModelNode node-2"):
        agent.status.update(said(it.node("node-2")))


def test_without_a_node_in_its_token_an_agent_writes_nothing(it: LiveAgent) -> None:
    unbound = it.environment.service_account_token(install.NAMESPACE, install.AGENT_ACCOUNT)
    client = it.environment.client(token=unbound)
    with pytest.raises(ForbiddenError, match="the agent's token names no node"):
        client.status.update(said(it.node("node-1")))
    with pytest.raises(ForbiddenError, match="the agent's token names no node"):
        client.create(download(it, name="unbound"))


def test_others_are_not_asked_about(it: LiveAgent) -> None:
    it.client.status.update(said(it.node("node-2")))


def test_an_agent_creates_and_deletes_its_own_jobs_and_no_others_d20(
    it: LiveAgent, agent: Client, other: Client
) -> None:
    made = agent.create(download(it))
    with pytest.raises(ForbiddenError, match="the agent of node node-2 may create and delete only Jobs that its"):
        other.delete(made)
    with pytest.raises(ForbiddenError, match="the agent of node node-2 may create and delete only Jobs that its"):
        other.create(download(it, name="strange"))
    agent.delete(made, propagation="Background")


def test_a_job_with_a_secret_certificates_and_an_account_passes(it: LiveAgent, agent: Client) -> None:
    volumes = ({"name": "s", "secret": {"secretName": "s"}}, {"name": "c", "configMap": {"name": "c"}})
    mounts = ({"name": "s", "mountPath": "/s", "readOnly": True}, {"name": "c", "mountPath": "/c"})
    job = download(it, name="whole", volumes=volumes, volume_mounts=mounts, service_account="reader")
    agent.delete(agent.create(job), propagation="Background")


def test_a_check_of_credentials_passes(it: LiveAgent, agent: Client) -> None:
    """A Job that mounts no model."""
    job = download(it, name="check")
    spec = job.spec.template["spec"]
    spec["volumes"], spec["containers"][0]["volumeMounts"] = [], []
    spec["containers"][0]["args"] = ["--check", "s3://mybucket/mymodel"]
    agent.delete(agent.create(job), propagation="Background")


Change = Callable[[Json], object]
"""Changes the JSON of a Job."""


def pod(change: Change) -> Change:
    return lambda job: change(job["spec"]["template"]["spec"])


def container(change: Change) -> Change:
    return pod(lambda spec: change(spec["containers"][0]))


VOLUMES = "an agent's Job may mount claims, Secrets and ConfigMaps only"
NODE = "may not share the node's network, processes or IPC, nor pass the scheduler by"
STAGING = "an agent's Job may mount the staging directory of one model only"
BOUND = "a Job of this agent must be bound to node node-1 by its affinity"


def _another_node(spec: Json) -> None:
    terms = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    terms[0]["matchFields"][0]["values"] = ["node-2"]


def _one_of_two_nodes(spec: Json) -> None:
    terms = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    other = copy.deepcopy(terms[0])
    other["matchFields"][0]["values"] = ["node-2"]
    terms.append(other)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (pod(lambda spec: spec["volumes"].append({"name": "h", "hostPath": {"path": "/"}})), VOLUMES),
        (pod(lambda spec: spec["volumes"].append({"name": "e", "emptyDir": {}})), VOLUMES),
        (pod(lambda spec: spec["volumes"].append({"name": "p", "projected": {"sources": []}})), VOLUMES),
        (pod(lambda spec: spec.update(hostNetwork=True)), NODE),
        (pod(lambda spec: spec.update(hostPID=True)), NODE),
        (pod(lambda spec: spec.update(hostIPC=True)), NODE),
        (pod(lambda spec: spec.update(nodeName="node-2")), NODE),
        (pod(lambda spec: spec["containers"].append({"name": "d", "image": "i"})), "has one container"),
        (pod(lambda spec: spec.update(initContainers=[{"name": "d", "image": "i"}])), "has one container"),
        (container(lambda c: c.update(securityContext={"privileged": True})), "may not be privileged"),
        (container(lambda c: c.update(ports=[{"containerPort": 1, "hostPort": 1}])), "nor have ports of the node"),
        (pod(lambda spec: spec.pop("automountServiceAccountToken")), "may not have a token of the cluster"),
        (pod(lambda spec: spec.update(automountServiceAccountToken=True)), "may not have a token of the cluster"),
        (container(lambda c: c["volumeMounts"][0].pop("subPath")), STAGING),
        (container(lambda c: c["volumeMounts"][0].update(subPath="models/0123456789abcdef")), STAGING),
        (container(lambda c: c["volumeMounts"][0].update(subPath="models/.staging")), STAGING),
        (pod(lambda s: s["volumes"].append({"name": "x", "persistentVolumeClaim": {"claimName": "x"}})), STAGING),
        (pod(_another_node), BOUND),
        (pod(_one_of_two_nodes), BOUND),
        (pod(lambda spec: spec.pop("affinity")), BOUND),
        (lambda job: job["metadata"]["labels"].update(node="node-2"), "the label node of a Job of this agent must be"),
        (lambda job: job["metadata"]["labels"].pop("node"), "the label node of a Job of this agent must be node-1"),
        (lambda job: job["metadata"].pop("ownerReferences"), "only Jobs that its LocalModelNode controls"),
        (lambda job: job["metadata"]["ownerReferences"][0].update(kind="Node"), "only Jobs that its LocalModelNode"),
    ],
)
def test_no_other_job_passes(it: LiveAgent, agent: Client, change: Change, text: str) -> None:
    job = download(it, name="bad").to_dict()
    change(job)
    with pytest.raises(ForbiddenError, match=text):
        agent.create(Job.from_dict(job))


def test_the_whole_life_of_an_agent_passes(it: LiveAgent) -> None:
    it.start()
    it.until("the download starts", lambda: any("iris" in job.name for job in it.jobs()))
    it.finish(next(job for job in it.jobs() if "iris" in job.name), "Failed")
    it.until("the failure is told", lambda: it.status() == "ModelDownloadError")
    other, third = entry("other", "s3://mybucket/other"), entry("third", "s3://mybucket/third")
    it.want(other)
    it.until("another starts", lambda: any("other" in job.name for job in it.jobs()))
    it.download(next(job for job in it.jobs() if "other" in job.name))
    it.until("it is downloaded", lambda: it.status("other") == "ModelDownloaded")
    it.want(other, third)
    it.until("a third starts", lambda: any("third" in job.name for job in it.jobs()))
    for cache in it.client.list(LocalModelCache):
        it.client.delete(cache)
    it.want_nothing()
    it.until("nothing is left in the status", lambda: not it.node().status.model_status)
    it.until("no Job is left", lambda: not [job for job in it.jobs() if not job.is_deleting])
    it.stop()
    asked = it.environment.audit(AGENT)
    assert [(record.verb, record.path) for record in asked if record.code in (401, 403, 422)] == []
    events = [record.code for record in asked if "/events" in record.path]
    assert set(events) == {201}


def test_every_policy_is_bound_and_refuses() -> None:
    documents = policies()
    names = {d["metadata"]["name"] for d in documents if d["kind"] == "ValidatingAdmissionPolicy"}
    bindings = [d for d in documents if d["kind"] == "ValidatingAdmissionPolicyBinding"]
    assert {d["spec"]["policyName"] for d in bindings} == names
    assert all(d["spec"]["validationActions"] == ["Deny"] for d in bindings)
