"""The parts of the agent's reconciler, put together once it has its clients."""

from __future__ import annotations

from dataclasses import dataclass

from localmodel.runtime.client import Client, Reader
from localmodel.runtime.clock import Clock
from localmodel.runtime.events import EventRecorder

from .checks import Checks
from .children import Children
from .childruns import ChildRuns
from .downloads import Downloads
from .hostpath import HostPath
from .jobruns import JobRuns
from .metrics import AgentMetrics
from .nodegroups import NodeGroups
from .removal import Removal
from .requirements import Requirements
from .runs import Runs
from .status import NodeStatusWriter, ProgressPolicy
from .storagecondition import StorageCondition
from .store import ModelStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Each does one thing for every pass. None is for several threads at once."""

    groups: NodeGroups
    downloads: Downloads
    checks: Checks
    removal: Removal
    condition: StorageCondition
    writer: NodeStatusWriter

    @classmethod
    def of(
        cls,
        *,
        client: Client,
        live: Reader,
        store: ModelStore,
        recorder: EventRecorder,
        clock: Clock,
        path: HostPath,
        progress: ProgressPolicy,
        node_name: str,
        children: Children,
        metrics: AgentMetrics,
    ) -> Parts:
        """All of them, on one store and one client."""
        requirements = Requirements(live)
        jobs = JobRuns(client=client, live=live, recorder=recorder, requirements=requirements, clock=clock)
        own = ChildRuns(children=children, live=live, store=store, recorder=recorder, requirements=requirements)
        runs = Runs(jobs=jobs, children=own)
        return cls(
            groups=NodeGroups(live, clock, node_name=node_name),
            downloads=Downloads(
                live=live,
                store=store,
                runs=runs,
                requirements=requirements,
                recorder=recorder,
                metrics=metrics,
                path=path,
                clock=clock,
            ),
            checks=Checks(client=client, store=store, runs=jobs, requirements=requirements, recorder=recorder),
            removal=Removal(live=live, store=store, runs=runs, clock=clock),
            condition=StorageCondition(store.models, recorder=recorder, clock=clock),
            writer=NodeStatusWriter(client, live, policy=progress, clock=clock),
        )
