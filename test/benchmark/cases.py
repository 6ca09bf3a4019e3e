"""Every case and every target: the section "Speed and memory" of the issue, line by line."""

from __future__ import annotations

from .case import Case, Line, Size

LISTS = Case(
    name="lists",
    title="Initial list of 5,000 Nodes of 10 KB into a synced informer",
    size=Size(full=5000, quick=2000, tiny=30),
    server={"nodes": None},
    sides={
        "informer": "ours:sync_nodes",
        "by list": "ours:sync_nodes_by_list",
        "unstructured": "ours:sync_unstructured_nodes",
        "official client": "official:list_nodes",
        "official informer": "official:sync_nodes",
    },
    lines=(
        Line(what="objects/s, to the official typed client", side="informer", against="official client", at_least=15),
        Line(what="objects/s, to the official informer", side="informer", against="official informer", at_least=15),
        Line(what="the same by a list, not a streamed one", side="by list", against="official informer", at_least=15),
        Line(what="the same untyped, with all fields", side="unstructured", against="official informer"),
        Line(what="kept per Node, trimmed", side="informer", number="kept_bytes", unit="B", at_most=6 * 1024),
        Line(what="kept per Node, untyped with all fields", side="unstructured", number="kept_bytes", unit="B"),
        Line(what="kept per Node, official informer", side="official informer", number="kept_bytes", unit="B"),
    ),
)

BIG_LIST = Case(
    name="big-list",
    title="First list of 20,000 Nodes (200 MB)",
    size=Size(full=20_000, quick=5000, tiny=30),
    server={"nodes": None},
    sides={"by list": "ours:sync_nodes_by_list", "streamed": "ours:sync_nodes"},
    lines=(
        Line(
            what="peak over the process before, one unpaged list", side="by list", number="peak_growth_mib", unit="MiB"
        ),
        Line(what="peak over the process before, streamed list", side="streamed", number="peak_growth_mib", unit="MiB"),
        Line(what="objects/s, one unpaged list", side="by list"),
        Line(what="objects/s, streamed list", side="streamed"),
    ),
)

WATCHES = Case(
    name="watches",
    title="Watch events through to a handler that reads the object, as fast as they go",
    size=Size(full=5000, quick=2000, tiny=40),
    server={"nodes": 500, "customs": 500},
    sides={
        "nodes": "ours:flood_nodes",
        "official nodes": "official:watch_nodes",
        "official informer": "official:inform_nodes",
        "unstructured nodes": "ours:flood_unstructured_nodes",
        "custom objects": "ours:flood_unstructured",
        "typed custom objects": "ours:flood_typed",
        "official custom objects": "official:watch_custom_objects",
        "drained nodes": "raw:drain_nodes",
        "drained custom objects": "raw:drain_custom_objects",
    },
    lines=(
        Line(what="10 KB Nodes, to the official watch", side="nodes", against="official nodes", at_least=3),
        Line(what="10 KB Nodes, to the official informer", side="nodes", against="official informer", at_least=10),
        Line(
            what="10 KB Nodes untyped, to the official informer", side="unstructured nodes", against="official informer"
        ),
        Line(
            what="2 KB custom objects, to the official watch",
            side="custom objects",
            against="official custom objects",
            at_least=3,
        ),
        Line(
            what="the same read as a typed object",
            side="typed custom objects",
            against="official custom objects",
        ),
        Line(what="10 KB Nodes, bytes read and dropped: the server's limit", side="drained nodes"),
        Line(what="2 KB custom objects, likewise", side="drained custom objects"),
    ),
)

LATENCY = Case(
    name="latency",
    title="From the server's write to the handler",
    size=Size(full=3000, quick=2000, tiny=50),
    server={"nodes": 500, "customs": 500},
    sides={
        "1000": "ours:pace_typed_1000",
        "5000": "ours:pace_typed_5000",
        "nodes 1000": "ours:pace_nodes_1000",
        "nodes 5000": "ours:pace_nodes_5000",
    },
    lines=(
        Line(what="p99 at 1,000 events/s, 2 KB", side="1000", number="p99_ms", unit="ms", at_most=5),
        Line(what="p50 at 1,000 events/s, 2 KB", side="1000", number="p50_ms", unit="ms"),
        Line(what="p99 at 1,000 events/s, 10 KB", side="nodes 1000", number="p99_ms", unit="ms", at_most=5),
        Line(
            what="share kept up with at 5,000 events/s, 2 KB",
            side="5000",
            number="share_of_rate",
            unit="",
            at_least=0.98,
        ),
        Line(
            what="share kept up with at 5,000 events/s, 10 KB",
            side="nodes 5000",
            number="share_of_rate",
            unit="",
            at_least=0.98,
        ),
        Line(what="p99 at 5,000 events/s, 2 KB", side="5000", number="p99_ms", unit="ms"),
        Line(what="p99 at 5,000 events/s, 10 KB", side="nodes 5000", number="p99_ms", unit="ms"),
    ),
)

PATCHES = Case(
    name="patches",
    title="Status patches from 4 workers",
    size=Size(full=12_000, quick=4000, tiny=40),
    server={"customs": 500},
    sides={
        "unstructured": "ours:patch_unstructured",
        "typed": "ours:patch_typed",
        "official": "official:patch_status",
    },
    lines=(
        Line(what="requests/s", side="unstructured", against="official", at_least=2.5),
        Line(what="requests/s, the answer typed", side="typed", against="official"),
    ),
)

QUEUES = Case(
    name="queues",
    title="Work queue: add, get and done by 4 workers; queue.Queue: put and get",
    size=Size(full=200_000, quick=80_000, tiny=400),
    sides={
        "rate limiting": "queues:rate_limiting",
        "queue.Queue": "queues:standard",
        "priority": "queues:priority",
        "rate limiting with metrics": "queues:rate_limiting_with_metrics",
        "priority with metrics": "queues:priority_with_metrics",
        "queue.Queue handed over": "queues:standard_handed_over",
        "rate limiting handed over": "queues:rate_limiting_handed_over",
        "priority handed over": "queues:priority_handed_over",
    },
    lines=(
        Line(what="RateLimitingQueue, to queue.Queue", side="rate limiting", against="queue.Queue", at_least=0.4),
        Line(what="PriorityQueue, to queue.Queue", side="priority", against="queue.Queue", at_least=0.4),
        Line(what="RateLimitingQueue with metrics", side="rate limiting with metrics", at_least=50_000),
        Line(what="PriorityQueue with metrics", side="priority with metrics", at_least=50_000),
        Line(
            what="RateLimitingQueue filled by a fifth thread, to queue.Queue",
            side="rate limiting handed over",
            against="queue.Queue handed over",
        ),
        Line(
            what="PriorityQueue filled by a fifth thread, to queue.Queue",
            side="priority handed over",
            against="queue.Queue handed over",
        ),
    ),
)

DELAYS = Case(
    name="delays",
    title="1,000,000 delayed items: memory of the whole process",
    size=Size(full=1_000_000, quick=1_000_000, tiny=1000),
    sides={"rate limiting": "queues:delayed", "priority": "queues:delayed_with_priority"},
    lines=(
        Line(what="RateLimitingQueue", side="rate limiting", number="peak_mib", unit="MiB", at_most=400),
        Line(what="PriorityQueue", side="priority", number="peak_mib", unit="MiB", at_most=400),
        Line(what="RateLimitingQueue, items added", side="rate limiting"),
        Line(what="PriorityQueue, items added", side="priority"),
    ),
)

IDLE = Case(
    name="idle",
    title="A manager of 20 idle watches and 8 workers, with metrics and health endpoints",
    size=Size(full=15_000, quick=4000, tiny=50),
    server={"kinds": 20},
    sides={"manager": "idle:manager"},
    lines=(
        Line(what="CPU", side="manager", number="cpu_percent", unit="%", at_most=0.1),
        Line(what="resident, the whole process", side="manager", number="resident_mib", unit="MiB", at_most=70),
        Line(what="start of the process to synced caches", side="manager", number="start_seconds", unit="s", at_most=1),
        Line(what="the same in CPU time", side="manager", number="start_cpu_seconds", unit="s"),
        Line(what="wake-ups", side="manager", number="switches_per_second"),
    ),
)

READS = Case(
    name="reads",
    title="Reading one 2 KB object from the cache, to copy.deepcopy of the decoded object",
    size=Size(full=40_000, quick=10_000, tiny=100),
    server={"customs": 100},
    sides={
        "untyped": "reads:untyped",
        "typed": "reads:typed",
        "deepcopy": "reads:deepcopy_of_dict",
        "deepcopy of a model": "reads:deepcopy_of_model",
    },
    lines=(
        Line(what="untyped, to deepcopy of the dict", side="untyped", against="deepcopy", at_least=5),
        Line(what="typed, to deepcopy of the dict", side="typed", against="deepcopy", at_least=2.5),
        Line(what="typed, to deepcopy of the typed object", side="typed", against="deepcopy of a model"),
    ),
)

CASES = {case.name: case for case in (LISTS, BIG_LIST, WATCHES, LATENCY, PATCHES, QUEUES, DELAYS, IDLE, READS)}
