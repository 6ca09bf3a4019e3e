"""Unknown and duplicate fields under Ignore, Warn and Strict, by every verb, on built-in and custom kinds."""

from __future__ import annotations

from support.recorded import Scenario, Step, step

from .common import APPLY, JSON_PATCH, MERGE, STRATEGIC, YAML, core, custom, grouped, install, widget_crd

_NS = "r-fieldval"
_CMS = core(_NS, "configmaps")
_GADGETS = grouped("fgadgets.test", _NS, "fgadgets")

_DIRTY = (
    b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"%s","nope":1,"labels":{"a":"1","a":"2"}},'
    b'"data":{"k":"1","k":"2"},"daat":{"x":1},"extra":[{"y":2}]}'
)
_DIRTY_POD = (
    b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"%s"},"spec":{"unknownA":1,"containers":[{"name":"main",'
    b'"image":"i","imagee":"j","ports":[{"containerPort":80,"containerport":81,"hostport":0,"x":{"y":1}}]}],'
    b'"volumes":[{"name":"v","emptyDir":{"nope":1}}]}}'
)
_DIRTY_GADGET = (
    b'{"apiVersion":"fgadgets.test/v1","kind":"FGadget","metadata":{"name":"%s","nope":1},'
    b'"spec":{"size":1,"size":2,"sise":3,"nested":{"c":"x"},"items":[{"name":"n","other":"o"}],"any":{"z":1}},"more":1}'
)
_DIRTY_YAML = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\n  nope: 1\ndata:\n  k: a\n  k: b\ndaat: 1\n"


def _through(validation: str) -> tuple[Step, ...]:
    query = f"?fieldValidation={validation}" if validation else ""
    joined = f"{query}&fieldManager=me" if query else "?fieldManager=me"
    name = f"f{validation.lower()}"
    raw = name.encode()
    return (
        step("POST", f"{_CMS}{query}", _DIRTY % raw),
        step("POST", _CMS, {"metadata": {"name": name}}, compare="may be there"),
        step("PUT", f"{_CMS}/{name}{query}", _DIRTY % raw),
        step("PATCH", f"{_CMS}/{name}{query}", b'{"daat":1,"data":{"m":"1","m":"2"}}', content_type=MERGE),
        step("PATCH", f"{_CMS}/{name}{query}", b'{"daat":1,"data":{"m":"1","m":"3"}}', content_type=STRATEGIC),
        step(
            "PATCH",
            f"{_CMS}/{name}{query}",
            b'[{"op":"add","path":"/daat","value":1},{"op":"add","path":"/data","value":{"j":"1","j":"2"}}]',
            content_type=JSON_PATCH,
        ),
        step("PATCH", f"{_CMS}/{name}{joined}", _DIRTY % raw, content_type=APPLY),
        step("PATCH", f"{_CMS}/{name}{joined}", _DIRTY_YAML % raw, content_type=APPLY),
        step("POST", f"{_CMS}{query}", _DIRTY_YAML % (raw + b"y"), content_type=YAML),
        step("POST", f"{core(_NS, 'pods')}{query}", _DIRTY_POD % raw, compare="a pod's defaults"),
        step("POST", f"{_GADGETS}{query}", _DIRTY_GADGET % raw),
        step("POST", _GADGETS, custom("fgadgets", "FGadget", name, spec={"size": 1}), compare="may be there"),
        step("PATCH", f"{_GADGETS}/{name}{query}", b'{"spec":{"sise":1,"size":2,"size":4},"x":1}', content_type=MERGE),
        step(
            "PATCH",
            f"{_GADGETS}/{name}{query}",
            b'[{"op":"add","path":"/spec/sise","value":1}]',
            content_type=JSON_PATCH,
        ),
        step("PATCH", f"{_GADGETS}/{name}{joined}", _DIRTY_GADGET % raw, content_type=APPLY),
        step("GET", f"{_CMS}/{name}"),
        step("GET", f"{_GADGETS}/{name}"),
    )


SCENARIOS = (
    Scenario(
        _NS,
        (
            install(widget_crd("fgadgets", "FGadget")),
            *_through(""),
            *_through("Ignore"),
            *_through("Warn"),
            *_through("Strict"),
        ),
    ),
)
