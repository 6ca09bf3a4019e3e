"""CustomResourceDefinitions: names, versions, columns, subresources, approval, updates, conditions, deletion."""

# A case is a line.

from __future__ import annotations

import copy
from typing import Any

from support.realanswers import Case, Step

Json = dict[str, Any]
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SCHEMA: Json = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}}}}}


def version(name: str = "v1", **more: Any) -> Json:
    return {"name": name, "served": True, "storage": True, "schema": {"openAPIV3Schema": SCHEMA}, **more}


def crd(group: str, *versions: Json, plural: str = "cogs", kind: str = "Cog", **spec: Any) -> Json:
    names = {"plural": plural, "kind": kind, **spec.pop("names", {})}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}", **spec.pop("metadata", {})},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": names,
            "versions": list(versions) or [version()],
            **spec,
        },
    }


def dry(body: Json) -> tuple[Step, ...]:
    return (Step("POST", f"{CRDS}?dryRun=All", body),)


def but(body: Json, path: str, value: Any) -> Json:
    """A copy with one value changed (None removes it)."""
    changed = copy.deepcopy(body)
    *above, last = path.split(".")
    current: Any = changed
    for name in above:
        current = current[int(name) if name.isdigit() else name]
    if value is None:
        current.pop(last, None)
    else:
        current[last] = value
    return changed


BASE = crd("names.example.com")
COLUMN = {"name": "A", "type": "string", "jsonPath": ".spec.a"}
SCALE = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}

DRY: dict[str, Json] = {
    "as it should be": BASE,
    "all names": crd(
        "names.example.com",
        names={"singular": "cog", "listKind": "Cogs", "shortNames": ["cg"], "categories": ["all", "odd"]},
    ),
    "without spec": but(BASE, "spec", None),
    "without group": but(BASE, "spec.group", None),
    "group without dot": but(BASE, "spec.group", "example"),
    "group in capitals": but(BASE, "spec.group", "Names.example.com"),
    "without scope": but(BASE, "spec.scope", None),
    "unknown scope": but(BASE, "spec.scope", "World"),
    "without names": but(BASE, "spec.names", None),
    "without plural": but(BASE, "spec.names.plural", None),
    "without kind": but(BASE, "spec.names.kind", None),
    "plural in capitals": crd("names.example.com", plural="Cogs"),
    "plural with a digit first": crd("names.example.com", plural="1cogs"),
    "plural too long": crd("names.example.com", plural="c" * 64),
    "kind with a dash": but(BASE, "spec.names.kind", "My_Cog"),
    "kind as list kind": but(BASE, "spec.names.listKind", "Cog"),
    "singular in capitals": but(BASE, "spec.names.singular", "Cog"),
    "bad short names": but(BASE, "spec.names.shortNames", ["ok", "Not OK", ""]),
    "bad category": but(BASE, "spec.names.categories", ["All"]),
    "other name": but(BASE, "metadata.name", "cogs.other.example.com"),
    "bad name": but(BASE, "metadata.name", "Cogs!"),
    "without versions": but(BASE, "spec.versions", None),
    "empty versions": but(BASE, "spec.versions", []),
    "without version name": crd("names.example.com", version("")),
    "bad version name": crd("names.example.com", version("1.0")),
    "no storage": crd("names.example.com", version(storage=False)),
    "not served": crd("names.example.com", version(served=False)),
    "two storage versions": crd("names.example.com", version("v1"), version("v2")),
    "two versions": crd("names.example.com", version("v1"), version("v2", storage=False)),
    "same version twice": crd("names.example.com", version("v1"), version("v1", storage=False)),
    "different schemas": crd(
        "names.example.com",
        version("v1"),
        version("v2", storage=False, schema={"openAPIV3Schema": {"type": "object", "properties": {"b": {}}}}),
    ),
    "without schema": crd("names.example.com", version(schema=None)),
    "empty schema": crd("names.example.com", version(schema={})),
    "one version without schema": crd("names.example.com", version("v1"), version("v2", storage=False, schema=None)),
    "preserveUnknownFields": but(BASE, "spec.preserveUnknownFields", True),
    "preserveUnknownFields false": but(BASE, "spec.preserveUnknownFields", False),
    "deprecated": crd("names.example.com", version(deprecated=True, deprecationWarning="use v2")),
    "warning without deprecated": crd("names.example.com", version(deprecationWarning="use v2")),
    "empty warning": crd("names.example.com", version(deprecated=True, deprecationWarning="")),
    "warning with newline": crd("names.example.com", version(deprecated=True, deprecationWarning="a\nb")),
    "long warning": crd("names.example.com", version(deprecated=True, deprecationWarning="a" * 257)),
    "columns": crd("names.example.com", version(additionalPrinterColumns=[COLUMN, {**COLUMN, "priority": 1}])),
    "bad columns": crd(
        "names.example.com",
        version(
            additionalPrinterColumns=[
                {}, {**COLUMN, "type": "text"}, {**COLUMN, "format": "odd"}, {**COLUMN, "jsonPath": "spec.a"},
                {**COLUMN, "jsonPath": "{.spec.a}"}, {**COLUMN, "jsonPath": ".spec[", "format": "int32"},
            ]
        ),
    ),
    "bad columns of one version": crd(
        "names.example.com",
        version("v1", additionalPrinterColumns=[{"name": "A"}]),
        version("v2", storage=False),
    ),
    "scale": crd("names.example.com", version(subresources={"status": {}, "scale": SCALE})),
    "scale with selector": crd(
        "names.example.com", version(subresources={"scale": {**SCALE, "labelSelectorPath": ".status.selector"}})
    ),
    "empty scale": crd("names.example.com", version(subresources={"scale": {}})),
    "scale with odd paths": crd(
        "names.example.com",
        version(
            subresources={
                "scale": {
                    "specReplicasPath": "spec.replicas", "statusReplicasPath": ".spec.x", "labelSelectorPath": ".a.b",
                }
            }
        ),
    ),
    "selectable fields": crd("names.example.com", version(selectableFields=[{"jsonPath": ".spec.a"}])),
    "bad selectable fields": crd(
        "names.example.com",
        version(
            selectableFields=[
                {"jsonPath": ""}, {"jsonPath": "spec.a"}, {"jsonPath": ".spec.b"}, {"jsonPath": ".spec"},
                {"jsonPath": ".metadata.name"}, {"jsonPath": ".spec.a"}, {"jsonPath": ".spec.a"},
                {"jsonPath": ".spec.a[0]"}, {"jsonPath": ".kind"},
            ]
        ),
    ),
    "unknown conversion": but(BASE, "spec.conversion", {"strategy": "Magic"}),
    "empty conversion": but(BASE, "spec.conversion", {}),
    "conversion none with webhook": but(
        BASE, "spec.conversion", {"strategy": "None", "webhook": {"conversionReviewVersions": ["v1"]}}
    ),
    "protected group": crd("stable.k8s.io"),
    "protected group with url": crd(
        "stable.k8s.io", metadata={"annotations": {"api-approved.kubernetes.io": "https://github.com/a/b/pull/1"}}
    ),
    "protected group unapproved": crd(
        "stable.kubernetes.io", metadata={"annotations": {"api-approved.kubernetes.io": "unapproved, test"}}
    ),
    "protected group with odd approval": crd(
        "stable.k8s.io", metadata={"annotations": {"api-approved.kubernetes.io": "yes"}}
    ),
    "status sent": {**BASE, "status": {"storedVersions": ["v9"], "conditions": [], "acceptedNames": {"plural": "X"}}},
    "several faults": {
        **but(but(crd("names", version("V!", storage=False)), "spec.scope", "X"), "spec.names.kind", "a b"),
    },
}  # fmt: skip


def named(name: str, **changes: Any) -> Json:
    return crd(f"{name}.example.com", **changes)


def flow(name: str, *steps: Step) -> Case:
    return Case(f"flow: {name}", steps)


def post(body: Json) -> Step:
    return Step("POST", CRDS, body)


def get(body: Json) -> Step:
    return Step("GET", f"{CRDS}/{body['metadata']['name']}")


MERGE = (("Content-Type", "application/merge-patch+json"),)


def patch(body: Json, change: Json, subresource: str = "") -> Step:
    return Step("PATCH", f"{CRDS}/{body['metadata']['name']}{subresource}", change, MERGE)


def delete(body: Json) -> Step:
    return Step("DELETE", f"{CRDS}/{body['metadata']['name']}")


LIFE, RENAME, CLASH, GROW = named("life"), named("rename"), named("clash"), named("grow")
APPROVED = crd("approved.k8s.io", metadata={"annotations": {"api-approved.kubernetes.io": "unapproved, test"}})
TWO = crd(
    "two.example.com",
    version("v1beta1", storage=False),
    version("v1", subresources={"status": {}, "scale": SCALE}, schema={"openAPIV3Schema": {
        "type": "object", "x-kubernetes-preserve-unknown-fields": True}}),
)  # fmt: skip
COGS = "/apis/two.example.com/v1/namespaces/default/cogs"
BETA = "/apis/two.example.com/v1beta1/namespaces/default/cogs"
DEFAULTED = {"type": "object", "properties": {"spec": {"type": "object", "properties": {
    "a": {"type": "string"}, "b": {"type": "string", "default": "late"}}}}}  # fmt: skip
STRICT = {"type": "object", "properties": {"spec": {"type": "object", "properties": {
    "a": {"type": "string", "maxLength": 2}, "c": {"type": "string"}}}}}  # fmt: skip


def cog(group: str, name: str, version_name: str = "v1", **more: Any) -> Json:
    return {"apiVersion": f"{group}/{version_name}", "kind": "Cog", "metadata": {"name": name}, **more}


def schema_change(schema: Json) -> Json:
    return {"spec": {"versions": [version(schema={"openAPIV3Schema": schema})]}}


GROWN = "/apis/grow.example.com/v1/namespaces/default/cogs"

FLOWS = [
    flow("life", post(LIFE), get(LIFE), post(LIFE), delete(LIFE), get(LIFE)),
    flow(
        "updates",
        post(RENAME),
        patch(RENAME, {"spec": {"names": {"shortNames": ["cg", "co"]}}}),
        get(RENAME),
        patch(RENAME, {"spec": {"names": {"kind": "Other"}}}),
        patch(RENAME, {"spec": {"names": {"plural": "others"}}}),
        patch(RENAME, {"spec": {"names": {"listKind": "CogCollection"}}}),
        get(RENAME),
        patch(RENAME, {"spec": {"scope": "Cluster"}}),
        patch(RENAME, {"spec": {"group": "other.example.com"}}),
        patch(RENAME, {"spec": {"versions": [version("v2")]}}),
        patch(RENAME, {"status": {"storedVersions": ["v9"]}}, "/status"),
        patch(RENAME, {"status": {"acceptedNames": {"plural": "Not OK"}}}, "/status"),
        delete(RENAME),
    ),
    flow(
        "names that clash",
        post(CLASH),
        post(crd("clash.example.com", plural="cogwheels", kind="Cog")),
        get(crd("clash.example.com", plural="cogwheels")),
        post(crd("clash.example.com", plural="wheels", kind="Wheel", names={"shortNames": ["cogs", "cog"]})),
        get(crd("clash.example.com", plural="wheels")),
        delete(CLASH),
        get(crd("clash.example.com", plural="wheels")),
        delete(crd("clash.example.com", plural="wheels")),
        delete(crd("clash.example.com", plural="cogwheels")),
    ),
    flow("approval", post(APPROVED), get(APPROVED), delete(APPROVED)),
    flow(
        "two versions",
        post(TWO),
        get(TWO),
        Step("POST", COGS, cog("two.example.com", "one", spec={"a": "x"}, status={"s": 1})),
        Step("GET", f"{BETA}/one"),
        Step("GET", COGS),
        Step("GET", BETA),
        Step("POST", BETA, cog("two.example.com", "two", "v1beta1", spec={"a": "y"})),
        Step("GET", f"{COGS}/two"),
        Step("POST", BETA, cog("two.example.com", "three", "v1")),
        Step("PATCH", f"{BETA}/one", {"spec": {"a": "z"}}, MERGE),
        Step("GET", f"{COGS}/one"),
        Step("GET", f"{BETA}/one/status"),
        Step("GET", "/apis/two.example.com"),
        Step("GET", "/apis/two.example.com/v1"),
        Step("GET", "/apis/two.example.com/v1beta1"),
        patch(TWO, {"spec": {"versions": [version("v1", subresources={"status": {}})]}}),
        get(TWO),
        delete(TWO),
    ),
    flow(
        "a schema that changes",
        post(GROW),
        Step("POST", GROWN, cog("grow.example.com", "old", spec={"a": "long"})),
        patch(GROW, schema_change(DEFAULTED)),
        Step("GET", f"{GROWN}/old"),
        Step("GET", GROWN),
        Step("PATCH", f"{GROWN}/old", {"metadata": {"labels": {"l": "1"}}}, MERGE),
        patch(GROW, schema_change(STRICT)),
        Step("GET", f"{GROWN}/old"),
        Step("PATCH", f"{GROWN}/old", {"metadata": {"labels": {"l": "2"}}}, MERGE),
        Step("PATCH", f"{GROWN}/old", {"spec": {"c": "x"}}, MERGE),
        Step("PATCH", f"{GROWN}/old", {"spec": {"a": "xyz"}}, MERGE),
        Step("POST", GROWN, cog("grow.example.com", "new", spec={"a": "long"})),
        patch(GROW, {"spec": {"versions": [version("v2"), version("v1", storage=False)]}}),
        get(GROW),
        Step("GET", "/apis/grow.example.com/v2/namespaces/default/cogs/old"),
        patch(GROW, {"spec": {"versions": [version("v2")]}}),
        delete(GROW),
    ),
]

CASES = [*(Case(f"dry run: {name}", dry(body)) for name, body in DRY.items()), *FLOWS]
