"""The scenarios whose answers by a real kube-apiserver are on record, a module for each subject.

`TABLES` maps a record's name to its scenarios. After a change run `hack/record-requests` against a real server.
"""

from __future__ import annotations

from support.recorded import Scenario

from . import applies, bodies, fieldvalidation, lists, metadata, options, patches, paths, watches, writes

TABLES: dict[str, tuple[Scenario, ...]] = {
    "bodies": bodies.SCENARIOS,
    "paths": paths.SCENARIOS,
    "options": options.SCENARIOS,
    "fieldvalidation": fieldvalidation.SCENARIOS,
    "metadata": metadata.SCENARIOS,
    "patches": patches.SCENARIOS,
    "lists": lists.SCENARIOS,
    "watches": watches.SCENARIOS,
    "writes": writes.SCENARIOS,
    "applies": applies.SCENARIOS,
}
