"""The parts of the agent's reconciler, put together once it has its clients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from localmodel.runtime.client import Client, Reader
from localmodel.runtime.clock import Clock
from localmodel.runtime.events import EventRecorder

from .capacity import Capacity
from .checks import Checks
from .children import Children
from .childruns import ChildRuns
from .context import Pass
from .downloads import Downloads
from .hostpath import HostPath
from .jobruns import JobRuns
from .metrics import AgentMetrics
from .nodegroups import NodeGroups
from .podlook import PodLook
from .removal import Removal
from .requirements import Requirements
from .runs import Runs
from .sharing import Grouping
from .status import NodeStatusWriter, ProgressPolicy
from .storagecondition import StorageCondition
from .store import ModelStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Each does one thing for every pass. None is for several threads at once."""

    look: PodLook
    groups: NodeGroups
    grouping: Grouping
    downloads: Downloads
    checks: Checks
    removal: Removal
    capacity: Capacity
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
        find_in_use: Callable[[Pass], None],
    ) -> Parts:
        """All of them, on one store and one client. `find_in_use` sets `Pass.in_use` from `Pass.pods`."""
        look = PodLook(live, find_in_use)
        requirements = Requirements(live, clock)
        jobs = JobRuns(client=client, live=live, recorder=recorder, requirements=requirements, clock=clock)
        own = ChildRuns(children=children, live=live, store=store, recorder=recorder, requirements=requirements)
        runs = Runs(jobs=jobs, children=own)
        capacity = Capacity(
            store=store,
            requirements=requirements,
            runs=runs,
            recorder=recorder,
            metrics=metrics,
            clock=clock,
            look=look,
        )
        return cls(
            look=look,
            groups=NodeGroups(client, live, clock, node_name=node_name),
            grouping=Grouping(store.recorded),
            downloads=Downloads(
                live=live,
                store=store,
                runs=runs,
                requirements=requirements,
                capacity=capacity,
                recorder=recorder,
                metrics=metrics,
                path=path,
                clock=clock,
            ),
            checks=Checks(
                client=client,
                live=live,
                store=store,
                runs=jobs,
                requirements=requirements,
                recorder=recorder,
            ),
            removal=Removal(live=live, store=store, runs=runs, clock=clock, look=look),
            capacity=capacity,
            condition=StorageCondition(store.models, recorder=recorder, clock=clock),
            writer=NodeStatusWriter(client, live, policy=progress, clock=clock),
        )
