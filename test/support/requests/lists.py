"""Lists: resource versions, pages, selectors, and the fields that each kind selects by."""

from __future__ import annotations

from support.recorded import Scenario, step

from .common import METADATA_LIST, TABLE, config_map, core, custom, grouped, install, job, pod, widget_crd

_NS = "r-lists"
_CMS = core(_NS, "configmaps")
_FUTURE = "9000000000"

_FIELDS = {
    "pods": (
        "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
        "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName", "spec.priority", "metadata.uid",
    ),
    "secrets": ("type", "data"),
    "services": ("spec.clusterIP", "spec.type", "spec.selector"),
    "events": (
        "involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
        "involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason",
        "reportingComponent", "source", "type", "message", "regarding.name",
    ),
    "configmaps": ("data", "metadata.labels"),
    "serviceaccounts": ("secrets",),
    "endpoints": ("subsets",),
    "persistentvolumeclaims": ("status.phase", "spec.volumeName"),
    "replicationcontrollers": ("status.replicas",),
    "resourcequotas": ("status",),
}  # fmt: skip
_GROUPED = {
    ("apps", "deployments"): ("status.replicas", "metadata.generation"),
    ("apps", "replicasets"): ("status.replicas", "spec.replicas"),
    ("apps", "statefulsets"): ("status.replicas",),
    ("apps", "daemonsets"): ("spec.x",),
    ("batch", "jobs"): ("status.successful", "status.active"),
    ("batch", "cronjobs"): ("spec.suspend",),
    ("events.k8s.io", "events"): (
        "reason", "reportingController", "regarding.kind", "regarding.name", "type", "involvedObject.name",
        "reportingComponent", "source", "note",
    ),
    ("coordination.k8s.io", "leases"): ("spec.holderIdentity",),
    ("rbac.authorization.k8s.io", "roles"): ("rules",),
    ("networking.k8s.io", "ingresses"): ("spec.x",),
    ("discovery.k8s.io", "endpointslices"): ("addressType",),
}  # fmt: skip
_CLUSTER = {
    "/api/v1/nodes": ("spec.unschedulable", "spec.podCIDR"),
    "/api/v1/namespaces": ("status.phase", "name"),
    "/api/v1/persistentvolumes": ("status.phase", "name", "spec.x"),
    "/apis/storage.k8s.io/v1/storageclasses": ("provisioner",),
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions": ("spec.group",),
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations": ("x",),
}

SCENARIOS = (
    Scenario(
        _NS,
        (
            *(
                step("POST", _CMS, config_map(name, {"k": name}, labels={"odd": str(index % 2), "all": "x"}))
                for index, name in enumerate("abcde")
            ),
            step("GET", _CMS),
            step("GET", f"{_CMS}?resourceVersion=0"),
            step("GET", f"{_CMS}?resourceVersion=@{{0:metadata.resourceVersion}}"),
            step("GET", f"{_CMS}?resourceVersion=@{{4:metadata.resourceVersion}}&resourceVersionMatch=NotOlderThan"),
            step("GET", f"{_CMS}?resourceVersion=@{{1:metadata.resourceVersion}}&resourceVersionMatch=Exact"),
            step("GET", f"{_CMS}?resourceVersion=@{{1:metadata.resourceVersion}}&limit=1"),
            step("GET", f"{_CMS}?resourceVersion={_FUTURE}", compare="the current version stands in the message"),
            step("GET", f"{_CMS}?resourceVersion={_FUTURE}&resourceVersionMatch=Exact", compare="likewise"),
            step("GET", f"{_CMS}?resourceVersion={_FUTURE}&limit=1", compare="likewise"),
            step("GET", f"{_CMS}/a?resourceVersion={_FUTURE}", compare="likewise"),
            step("GET", f"{_CMS}/nope?resourceVersion={_FUTURE}", compare="likewise"),
            step("GET", f"{_CMS}?limit=2"),
            step("GET", f"{_CMS}?limit=2&continue=@{{16:metadata.continue}}"),
            step("GET", f"{_CMS}?limit=2&continue=@{{17:metadata.continue}}"),
            step("GET", f"{_CMS}?continue=@{{16:metadata.continue}}"),
            step("GET", f"{_CMS}?continue=@{{16:metadata.continue}}&resourceVersion=0"),
            step("GET", f"{_CMS}?continue=@{{16:metadata.continue}}&resourceVersion=5"),
            step("GET", f"{_CMS}?limit=5"),
            step("GET", f"{_CMS}?limit=4"),
            step("GET", f"{_CMS}?limit=2&resourceVersion=0"),
            step("GET", f"{_CMS}?limit=1&labelSelector=odd%3D0"),
            step("GET", f"{_CMS}?limit=1&fieldSelector=metadata.name!%3Da"),
            step("GET", f"{_CMS}?labelSelector=odd%20in%20(0),all"),
            step("GET", f"{_CMS}?labelSelector=odd%20notin%20(0)"),
            step("GET", f"{_CMS}?labelSelector=!odd"),
            step("GET", f"{_CMS}?labelSelector=odd%3E0"),
            step("GET", f"{_CMS}?fieldSelector=metadata.name%3Dc"),
            step("GET", f"{_CMS}?limit=2", accept=TABLE),
            step("GET", f"{_CMS}?limit=2", accept=METADATA_LIST),
            step("DELETE", f"{_CMS}/c"),
            step("POST", _CMS, config_map("bb")),
            step("GET", f"{_CMS}?continue=@{{16:metadata.continue}}"),
            step("GET", core(_NS, "secrets?limit=2&continue=@{16:metadata.continue}")),
            step("DELETE", f"{_CMS}?limit=2"),
            step("GET", _CMS),
            step("DELETE", f"{_CMS}?labelSelector=odd%3D0"),
            step("DELETE", _CMS),
            step("GET", _CMS),
        ),
    ),
    Scenario(
        "r-fields",
        (
            *(
                step("GET", core("r-fields", f"{kind}?fieldSelector={field}%3Dx"))
                for kind, fields in _FIELDS.items()
                for field in fields
            ),
            *(
                step("GET", grouped(group, "r-fields", f"{kind}?fieldSelector={field}%3Dx"))
                for (group, kind), fields in _GROUPED.items()
                for field in fields
            ),
            *(
                step("GET", f"{path}?fieldSelector={field}%3Dxxx")
                for path, fields in _CLUSTER.items()
                for field in fields
            ),
            step("POST", core("r-fields", "pods"), pod("p"), compare="a pod's defaults"),
            step("GET", core("r-fields", "pods?fieldSelector=status.phase%3DPending"), accept=METADATA_LIST,
                 compare="a pod's defaults"),
            step("GET", core("r-fields", "pods?fieldSelector=spec.nodeName%3D"), accept=METADATA_LIST,
                 compare="a pod's defaults"),
            step("GET", core("r-fields", "pods?fieldSelector=spec.hostNetwork%3Dfalse"), accept=METADATA_LIST,
                 compare="a pod's defaults"),
            step("POST", grouped("batch", "r-fields", "jobs"), job("j"), compare="a job's defaults"),
            step("GET", grouped("batch", "r-fields", "jobs?fieldSelector=status.successful%3D0"), accept=METADATA_LIST,
                 compare="a job's defaults"),
        ),
    ),
    Scenario(
        "r-customlists",
        (
            install(widget_crd("lgadgets", "LGadget", selectableFields=[{"jsonPath": ".spec.color"}])),
            step("POST", grouped("lgadgets.test", "r-customlists", "lgadgets"), custom("lgadgets", "LGadget", "g")),
            step("GET", grouped("lgadgets.test", "r-customlists", "lgadgets")),
            step("GET", grouped("lgadgets.test", "r-customlists", "lgadgets?fieldSelector=metadata.name%3Dg")),
            step("GET", grouped("lgadgets.test", "r-customlists", "lgadgets?fieldSelector=spec.size%3D5")),
            step("GET", grouped("lgadgets.test", "r-customlists", "lgadgets?limit=x")),
            step("GET", grouped("lgadgets.test", "r-customlists", "lgadgets/nope")),
            step("GET", grouped("lgadgets.test", "r-customlists", "lgadgets/g/nope")),
            step("GET", grouped("lgadgets.test", "r-customlists", "lgadgets/g/scale")),
            step("GET", grouped("lgadgets.test", "r-customlists", "lgadgets/g/status")),
            step("PUT", grouped("lgadgets.test", "r-customlists", "lgadgets")),
            step("POST", grouped("lgadgets.test", "r-customlists", "lgadgets/g")),
            step("OPTIONS", grouped("lgadgets.test", "r-customlists", "lgadgets/g")),
            step("GET", "/apis/lgadgets.test/v1/lgadgets/g"),
            step("POST", "/apis/lgadgets.test/v1/lgadgets", custom("lgadgets", "LGadget", "g")),
            step("GET", "/apis/lgadgets.test/v2/lgadgets"),
            step("GET", grouped("lgadgets.test", "r-customlists", "lgadgets"), accept="text/html"),
            step("GET", grouped("lgadgets.test", "r-customlists", "lgadgets"),
                 accept="application/vnd.kubernetes.protobuf"),
            step("DELETE", grouped("lgadgets.test", "r-customlists", "lgadgets/g")),
            step("DELETE", grouped("lgadgets.test", "r-customlists", "lgadgets")),
        ),
    ),
)  # fmt: skip
