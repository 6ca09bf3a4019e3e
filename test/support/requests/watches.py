"""Watches: where they begin, what they tell, how they end."""

from __future__ import annotations

from support.recorded import Scenario, step

from .common import MERGE, METADATA_ONLY, TABLE, config_map, core, custom, grouped, install, widget_crd

_NS = "r-watches"
_CMS = core(_NS, "configmaps")
_W = f"{_CMS}?watch=true&timeoutSeconds=2"
_FUTURE = "9000000000"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


SCENARIOS = (
    Scenario(
        _NS,
        (
            step("POST", _CMS, config_map("a", {"k": "1"})),
            step("PATCH", f"{_CMS}/a", {"data": {"k": "2"}}, content_type=MERGE),
            step("POST", _CMS, config_map("b", {"k": "1"}, labels={"l": "x"})),
            step("DELETE", f"{_CMS}/a"),
            step("GET", _W),
            step("GET", f"{_W}&resourceVersion=0"),
            step("GET", f"{_W}&resourceVersion=@{{0:metadata.resourceVersion}}"),
            step("GET", f"{_W}&resourceVersion=@{{1:metadata.resourceVersion}}&fieldSelector=metadata.name%3Da"),
            step("GET", f"{_W}&resourceVersion=@{{0:metadata.resourceVersion}}&labelSelector=l"),
            step("GET", f"{_CMS}/b?watch=true&timeoutSeconds=2"),
            step("GET", f"{_CMS}/nope?watch=true&timeoutSeconds=2"),
            step("GET", f"{_CMS}/b?watch=true&timeoutSeconds=2&fieldSelector=metadata.name%3Da"),
            step("GET", f"{_CMS}/b?watch=true&timeoutSeconds=2&fieldSelector=metadata.name%3Db"),
            step("GET", f"{_W}&resourceVersion=1"),
            step("GET", f"{_W}&resourceVersion={_FUTURE}", compare="the current version stands in the message"),
            step("GET", f"{_W}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"),
            step("GET", f"{_W}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"),
            step(
                "GET",
                f"{_W}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
                "&resourceVersion=0",
            ),
            step(
                "GET",
                f"{_W}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
                "&resourceVersion=@{0:metadata.resourceVersion}",
            ),
            step("GET", f"{_W}&sendInitialEvents=false&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"),
            step(
                "GET",
                f"{_W}&sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion=0",
            ),
            step(
                "GET",
                f"{_W}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion={_FUTURE}",
                compare="the current version stands in the message",
            ),
            step("GET", f"{_W}&resourceVersion=@{{0:metadata.resourceVersion}}", accept=TABLE),
            step("GET", f"{_W}&resourceVersion=@{{0:metadata.resourceVersion}}", accept=METADATA_ONLY),
            step("GET", f"{_W}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
                 accept=METADATA_ONLY),
            step("GET", f"{_W}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
                 accept=TABLE),
            step("HEAD", _CMS),
            step("GET", f"/api/v1/watch/namespaces/{_NS}/configmaps?timeoutSeconds=1"),
            step("GET", f"/api/v1/watch/namespaces/{_NS}/configmaps/b?timeoutSeconds=1"),
            step("GET", f"/api/v1/watch/namespaces/{_NS}/configmaps/nope?timeoutSeconds=1"),
            step("POST", f"/api/v1/watch/namespaces/{_NS}/configmaps?timeoutSeconds=1"),
            step("GET", f"/api/v1/watch/namespaces/{_NS}/nopes?timeoutSeconds=1"),
            step("GET", f"/api/v1/watch/namespaces/{_NS}?timeoutSeconds=1"),
            step("GET", f"{_CMS}?watch=true&timeoutSeconds=0&resourceVersion=1&labelSelector=a%20in%20("),
        ),
    ),
    Scenario(
        "r-watchlive",
        (
            step("POST", core("r-watchlive", "configmaps"), config_map("a", {"k": "1"})),
            step(
                "GET",
                core("r-watchlive", "configmaps?watch=1&timeoutSeconds=3&labelSelector=l%3Dx")
                + "&resourceVersion=@{0:metadata.resourceVersion}",
                during=(
                    step("POST", core("r-watchlive", "configmaps"), config_map("b", labels={"l": "x"})),
                    step("PATCH", core("r-watchlive", "configmaps", "a"), {"metadata": {"labels": {"l": "x"}}},
                         content_type=MERGE),
                    step("PATCH", core("r-watchlive", "configmaps", "a"), {"data": {"k": "2"}}, content_type=MERGE),
                    step("PATCH", core("r-watchlive", "configmaps", "a"), {"metadata": {"labels": {"l": "y"}}},
                         content_type=MERGE),
                    step("PATCH", core("r-watchlive", "configmaps", "a"), {"data": {"k": "3"}}, content_type=MERGE),
                    step("DELETE", core("r-watchlive", "configmaps", "a")),
                    step("PATCH", core("r-watchlive", "configmaps", "b"), {"metadata": {"labels": {"l": None}}},
                         content_type=MERGE),
                    step("PATCH", core("r-watchlive", "configmaps", "b"), {"metadata": {"labels": {"l": "x"}}},
                         content_type=MERGE),
                    step("DELETE", core("r-watchlive", "configmaps", "b")),
                ),
            ),
            step(
                "GET",
                core("r-watchlive", "configmaps?watch=1&timeoutSeconds=3&resourceVersion=0"),
                accept=TABLE,
                during=(
                    step("POST", core("r-watchlive", "configmaps"), config_map("t1")),
                    step("POST", core("r-watchlive", "configmaps"), config_map("t2")),
                ),
            ),
            step(
                "GET",
                core("r-watchlive", "configmaps?watch=1&timeoutSeconds=3&allowWatchBookmarks=true")
                + "&resourceVersion=@{0:metadata.resourceVersion}&fieldSelector=metadata.name%3Dzz",
                compare="whether a bookmark comes before the end of so short a watch is chance",
                during=(step("POST", core("r-watchlive", "configmaps"), config_map("zz")),),
            ),
        ),
    ),
    Scenario(
        "r-watchmarks",
        (
            step("POST", core("r-watchmarks", "configmaps"), config_map("a")),
            *(
                step("GET", core("r-watchmarks", f"configmaps?watch=1&timeoutSeconds=2&allowWatchBookmarks=true{more}"))
                for more in (
                    "",
                    "&resourceVersion=0",
                    "&resourceVersion=@{0:metadata.resourceVersion}",
                    "&labelSelector=l%3Dnone",
                )
            ),
            install(widget_crd("mgadgets", "MGadget")),
            step("POST", grouped("mgadgets.test", "r-watchmarks", "mgadgets"), custom("mgadgets", "MGadget", "g")),
            step(
                "GET",
                grouped("mgadgets.test", "r-watchmarks", "mgadgets?watch=1&timeoutSeconds=2&allowWatchBookmarks=true"),
            ),
        ),
    ),
    Scenario(
        "r-watchgone",
        (
            install(widget_crd("hgadgets", "HGadget")),
            step(
                "POST",
                grouped("hgadgets.test", "r-watchgone", "hgadgets"),
                custom("hgadgets", "HGadget", "g") | {"metadata": {"name": "g", "finalizers": ["test.example/hold"]}},
            ),
            step("POST", grouped("hgadgets.test", "r-watchgone", "hgadgets"), custom("hgadgets", "HGadget", "h")),
            step(
                "GET",
                grouped("hgadgets.test", "r-watchgone", "hgadgets?watch=1&timeoutSeconds=20")
                + "&resourceVersion=@{2:metadata.resourceVersion}",
                during=(
                    step("DELETE", grouped("hgadgets.test", "r-watchgone", "hgadgets", "h")),
                    step("DELETE", grouped("hgadgets.test", "r-watchgone", "hgadgets", "g")),
                    step("DELETE", f"{CRDS}/hgadgets.hgadgets.test"),
                    step(
                        "PATCH",
                        grouped("hgadgets.test", "r-watchgone", "hgadgets", "g"),
                        {"metadata": {"finalizers": None}},
                        content_type=MERGE,
                    ),
                ),
            ),
        ),
    ),
    Scenario(
        "r-watchcustom",
        (
            install(widget_crd("wgadgets", "WGadget")),
            step("POST", grouped("wgadgets.test", "r-watchcustom", "wgadgets"), custom("wgadgets", "WGadget", "g")),
            step(
                "GET",
                grouped("wgadgets.test", "r-watchcustom", "wgadgets?watch=1&timeoutSeconds=4&resourceVersion=0"),
                during=(
                    step("PATCH", grouped("wgadgets.test", "r-watchcustom", "wgadgets", "g"), {"spec": {"size": 2}},
                         content_type=MERGE),
                    step("DELETE", grouped("wgadgets.test", "r-watchcustom", "wgadgets", "g")),
                ),
            ),
            step(
                "GET",
                grouped("wgadgets.test", "r-watchcustom", "wgadgets?watch=1&timeoutSeconds=2")
                + "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
            ),
        ),
    ),
)  # fmt: skip
