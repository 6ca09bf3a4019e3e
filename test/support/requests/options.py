"""Query parameters and DeleteOptions."""

from __future__ import annotations

from support.recorded import Scenario, Step, step

from .common import APPLY, MERGE, config_map, core

_NS = "r-options"
_CMS = core(_NS, "configmaps")
_CM = core(_NS, "configmaps", "a")

_LISTS = [
    "limit=x",
    "limit=-1",
    "limit=1.5",
    "limit=99999999999999999999",
    "limit=",
    "limit=1&limit=2",
    "limit=0x1",
    "continue=nope",
    "continue=%21%21",
    "continue=bm9wZQ",
    "continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MCwic3RhcnQiOiJ4In0",
    "continue=eyJ2IjoidjIiLCJydiI6MSwic3RhcnQiOiJ4In0",
    "continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiIuLi8uLi9zZWNyZXRzIn0",
    "continue=x&resourceVersion=5",
    "resourceVersion=x",
    "resourceVersion=-1",
    "resourceVersion=1.5",
    "resourceVersion=%2B1",
    "resourceVersion=00",
    "resourceVersion=99999999999999999999999",
    "resourceVersionMatch=Exact",
    "resourceVersionMatch=NotOlderThan",
    "resourceVersionMatch=Nope",
    "resourceVersionMatch=exact&resourceVersion=1",
    "resourceVersionMatch=Exact&resourceVersion=0",
    "resourceVersionMatch=Exact&resourceVersion=x",
    "resourceVersionMatch=NotOlderThan&resourceVersion=0&limit=1",
    "resourceVersionMatch=NotOlderThan&continue=x",
    "sendInitialEvents=true",
    "sendInitialEvents=false",
    "sendInitialEvents=x",
    "sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
    "timeoutSeconds=x",
    "timeoutSeconds=-1",
    "timeoutSeconds=0",
    "timeoutSeconds=1&timeoutSeconds=x",
    "allowWatchBookmarks=x",
    "watch=x&timeoutSeconds=1&resourceVersion=0",
    "watch=false",
    "watch=0",
    "watch=&timeoutSeconds=1",
    "watch&timeoutSeconds=1",
    "unknown=1",
    "pretty=true",
    "pretty=1",
    "pretty=x",
    "a=%zz",
    "%zz=1",
    "a;b",
    "a=1;b=2",
    "&&&",
    "=",
    "labelSelector",
    "labelSelector=",
    "labelSelector=a%3Db",
    "labelSelector=a",
    "labelSelector=!a",
    "labelSelector=a%20in%20(b,c)",
    "labelSelector=a%20in%20(b",
    "labelSelector=a%20in%20()",
    "labelSelector=a%20in%20(,)",
    "labelSelector=a%20in",
    "labelSelector=a%20notin%20(b)",
    "labelSelector=a%20nope%20(b)",
    "labelSelector=a%3D%3D%3Db",
    "labelSelector=%3Db",
    "labelSelector=a%3E1",
    "labelSelector=a%3Ex",
    "labelSelector=a%3E1,b",
    "labelSelector=,",
    "labelSelector=a,,b",
    "labelSelector=a,",
    "labelSelector=a%20b",
    "labelSelector=!",
    "labelSelector=!a%3Db",
    "labelSelector=a!%3D",
    "labelSelector=-a",
    "labelSelector=a%3D-b",
    "labelSelector=a%2Fb%2Fc",
    "labelSelector=A.B%2Fx",
    "labelSelector=a%3D" + "x" * 64,
    "labelSelector=" + "x" * 64,
    "labelSelector=%C3%A9",
    "labelSelector=a%3D%C3%A9",
    "labelSelector=(a)",
    "labelSelector=a%3Db&labelSelector=c%3Dd",
    "labelSelector=in%20in%20(in)",
    "labelSelector=a%3Din",
    "labelSelector=a!b",
    "fieldSelector=metadata.name%3Da",
    "fieldSelector=metadata.name!%3Da",
    "fieldSelector=metadata.name%3D%3Da",
    "fieldSelector=metadata.name",
    "fieldSelector=metadata.name%3Da%3Db",
    "fieldSelector=metadata.name%20%3D%20a",
    "fieldSelector=metadata.name%20in%20(a)",
    "fieldSelector=metadata.namespace%3Dr-options",
    "fieldSelector=metadata.namespace%3Dother",
    "fieldSelector=metadata.uid%3Dx",
    "fieldSelector=data.a%3Db",
    "fieldSelector=nope%3Db",
    "fieldSelector=,",
    "fieldSelector=%3D",
    "fieldSelector=metadata.name%3Da%5C",
    "fieldSelector=metadata.name%3Da%5C%2Cb",
    "fieldSelector=metadata.name%3Da%5Cx",
    "fieldSelector=metadata.name%3Da,metadata.name%3Db",
    "fieldSelector=metadata.name%3Da&fieldSelector=metadata.name%3Db",
]

_WATCHES = [
    "resourceVersion=x",
    "resourceVersion=-1",
    "timeoutSeconds=x",
    "labelSelector=a%20in%20(b",
    "fieldSelector=nope%3Db",
    "resourceVersionMatch=NotOlderThan",
    "resourceVersionMatch=Exact&resourceVersion=1",
    "sendInitialEvents=true",
    "sendInitialEvents=false",
    "sendInitialEvents=x",
    "sendInitialEvents=true&resourceVersionMatch=Exact&resourceVersion=1",
    "sendInitialEvents=true&resourceVersionMatch=Nope",
    "continue=x",
    "limit=1&resourceVersion=0",
]

_GETS = ["resourceVersion=x", "resourceVersion=-1", "resourceVersion=0", "resourceVersion=1", "pretty=1", "nope=1",
         "resourceVersionMatch=Exact", "limit=x", "export=true"]  # fmt: skip

_WRITES = [
    "dryRun=All",
    "dryRun=all",
    "dryRun=",
    "dryRun",
    "dryRun=x",
    "dryRun=All&dryRun=All",
    "dryRun=All&dryRun=x",
    "fieldManager=",
    "fieldManager=x%0Ay&dryRun=All",
    "fieldManager=%C3%A9&dryRun=All",
    "fieldManager=" + "x" * 128 + "&dryRun=All",
    "fieldManager=" + "x" * 129,
    "fieldManager=a&fieldManager=b&dryRun=All",
    "fieldManager=%00",
    "fieldValidation=Loud",
    "fieldValidation=strict",
    "fieldValidation=",
    "fieldValidation=Strict&fieldValidation=Loud&dryRun=All",
    "fieldValidation=Loud&dryRun=x&fieldManager=%00",
    "force=true",
    "force=false",
    "force=x",
    "pretty=true&dryRun=All",
    "nope=1&dryRun=All",
]


def _each(method: str, path: str, queries: list[str], body: object = None, **more: str) -> tuple[Step, ...]:
    return tuple(step(method, f"{path}?{query}", body, **more) for query in queries)


_DELETES_QUERY = [
    "gracePeriodSeconds=x",
    "gracePeriodSeconds=-1",
    "gracePeriodSeconds=1.5",
    "gracePeriodSeconds=",
    "propagationPolicy=Nope",
    "propagationPolicy=",
    "propagationPolicy=orphan",
    "orphanDependents=x&dryRun=All",
    "orphanDependents=true&dryRun=All",
    "orphanDependents=true&propagationPolicy=Orphan",
    "dryRun=x",
    "dryRun=All",
    "propagationPolicy=Foreground&dryRun=All",
    "propagationPolicy=Orphan&dryRun=All",
    "nope=1&dryRun=All",
]

_DELETES_BODY: list[object] = [
    {"propagationPolicy": "Nope"},
    {"propagationPolicy": 5},
    {"orphanDependents": True, "propagationPolicy": "Orphan"},
    {"orphanDependents": "x"},
    {"gracePeriodSeconds": "5"},
    {"gracePeriodSeconds": -1, "dryRun": ["All"]},
    {"dryRun": ["x"]},
    {"dryRun": "All"},
    {"dryRun": ["All", "All"]},
    {"preconditions": {"uid": "x"}},
    {"preconditions": {"resourceVersion": "1"}},
    {"preconditions": 5},
    {"preconditions": {"uid": 5}},
    {"kind": "DeleteOptions", "apiVersion": "v1", "dryRun": ["All"]},
    {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1", "dryRun": ["All"]},
    {"kind": "DeleteOptions", "apiVersion": "apps/v1", "dryRun": ["All"]},
    {"kind": "DeleteOptions", "apiVersion": "nope/v1", "dryRun": ["All"]},
    {"kind": "DeleteOptions", "dryRun": ["All"]},
    {"apiVersion": "v1", "dryRun": ["All"]},
    {"kind": "Nope", "apiVersion": "v1"},
    {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}},
    {"unknown": 5, "dryRun": ["All"]},
    [],
    5,
    b"{",
    b"null",
    b" ",
    b'{"dryRun":["All"]} x',
]

SCENARIOS = (
    Scenario(_NS, (step("POST", _CMS, config_map("a", {"k": "v"}, labels={"a": "b"})), *_each("GET", _CMS, _LISTS))),
    Scenario(
        "r-watchoptions",
        _each("GET", core("r-watchoptions", "configmaps"), [f"watch=1&timeoutSeconds=1&{q}" for q in _WATCHES]),
    ),
    Scenario(
        "r-getoptions",
        (
            step("POST", core("r-getoptions", "configmaps"), config_map("a")),
            *_each("GET", core("r-getoptions", "configmaps", "a"), _GETS),
        ),
    ),
    Scenario(
        "r-writeoptions",
        (
            *(
                step("POST", core("r-writeoptions", f"configmaps?{query}"), config_map(f"c{index}", {"a": "b"}))
                for index, query in enumerate(_WRITES)
            ),
            step("POST", core("r-writeoptions", "configmaps"), config_map("a", {"a": "b"})),
            *_each("PUT", core("r-writeoptions", "configmaps", "a"), _WRITES, config_map("a", {"a": "c"})),
            *_each(
                "PATCH", core("r-writeoptions", "configmaps", "a"), _WRITES, {"data": {"a": "d"}}, content_type=MERGE
            ),
            *_each(
                "PATCH",
                core("r-writeoptions", "configmaps", "b"),
                _WRITES,
                config_map("b", {"a": "d"}),
                content_type=APPLY,
            ),
            step("GET", core("r-writeoptions", "configmaps", "a")),
        ),
    ),
    Scenario(
        "r-deleteoptions",
        (
            step("POST", core("r-deleteoptions", "configmaps"), config_map("a")),
            *_each("DELETE", core("r-deleteoptions", "configmaps", "a"), _DELETES_QUERY[:4]),
            *(
                piece
                for query in _DELETES_QUERY[4:]
                for piece in (
                    step("POST", core("r-deleteoptions", "configmaps"), config_map("a"), compare="may be there"),
                    step("DELETE", core("r-deleteoptions", f"configmaps/a?{query}")),
                )
            ),
            *(
                piece
                for body in _DELETES_BODY
                for piece in (
                    step("POST", core("r-deleteoptions", "configmaps"), config_map("a"), compare="may be there"),
                    step("DELETE", core("r-deleteoptions", "configmaps", "a"), body),
                )
            ),
            step("POST", core("r-deleteoptions", "configmaps"), config_map("a"), compare="may be there"),
            step("DELETE", core("r-deleteoptions", "configmaps/a?propagationPolicy=Orphan"), {"dryRun": ["All"]}),
            step("DELETE", core("r-deleteoptions", "configmaps/a?dryRun=All"), {"gracePeriodSeconds": 5}),
            step("DELETE", core("r-deleteoptions", "configmaps?dryRun=All")),
            step("DELETE", core("r-deleteoptions", "configmaps?labelSelector=x%3Dy")),
            step("DELETE", core("r-deleteoptions", "configmaps?labelSelector=x%20in")),
            step("DELETE", core("r-deleteoptions", "configmaps?fieldSelector=nope%3Dy")),
            step("DELETE", core("r-deleteoptions", "configmaps?limit=x")),
            step("DELETE", core("r-deleteoptions", "configmaps?propagationPolicy=Nope")),
            step("DELETE", core("r-deleteoptions", "configmaps"), {"preconditions": {"uid": "x"}}),
            step("DELETE", core("r-deleteoptions", "configmaps", "a")),
        ),
    ),
)
