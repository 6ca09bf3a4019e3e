"""Printer columns: what client-go's JSONPath finds and prints in all its forms, and what a column that fails leaves."""

# A case is a line.
# ruff: noqa: E501

from __future__ import annotations

from typing import Any

from support.realanswers import Case, Step

from .crds import CRDS, crd, dry, version

Json = dict[str, Any]
TABLE = (("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io"),)
GROUP = "columns.example.com"
OPEN: Json = {
    "openAPIV3Schema": {
        "type": "object",
        "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
}
SPEC: Json = {
    "text": "héllo", "quote": 'a"b<c>&', "number": 7, "float": 1.5, "whole": 2.0, "tiny": 0.0000001, "huge": 1e21, "large": 12345678.0, "yes": True, "no": False,
    "none": None, "empty": "", "list": ["a", "b", "c", "d"], "numbers": [1, 2.5, 3], "nothing": [], "object": {"z": 1, "a": "<&>"}, "hollow": {}, "one": {"only": "x"},
    "items": [{"name": "x", "value": 1, "on": True, "in": {"deep": "p"}}, {"name": "y", "value": 2, "on": False}, {"name": "z)", "value": 3.5, "tag": "t"}],
    "mixed": [{"v": 1}, {"v": "a"}], "lists": [[1, 2], [3]], "dotted.key": "d", "sp ace": "s", "when": "1700-01-01T00:00:00Z", "odd": "2020-01-01", "nulls": [None, {"a": 1}], "deep": {"er": {"name": "found"}},
    "a]b": "bracket", "uni": {"ключ": "u"}, "dash-ed": "h", "date": "1700-01-01T00:00:00.5+01:00",
}  # fmt: skip
PATHS: tuple[str, ...] = (
    ".spec.text", ".spec.quote", ".spec.number", ".spec.float", ".spec.whole", ".spec.tiny", ".spec.huge", ".spec.large", ".spec.yes", ".spec.no", ".spec.none", ".spec.empty",
    ".spec.list", ".spec.numbers", ".spec.nothing", ".spec.object", ".spec.hollow", ".spec.when", ".spec.odd", ".spec.date",
    ".spec.list[0]", ".spec.list[-1]", ".spec.list[3]", ".spec.list[4]", ".spec.list[-4]", ".spec.list[-5]", ".spec.list[1:3]", ".spec.list[1:]", ".spec.list[:2]", ".spec.list[:]", ".spec.list[2:1]",
    ".spec.list[0:4:2]", ".spec.list[::3]", ".spec.list[::0]", ".spec.list[::-1]", ".spec.list[-2:]", ".spec.list[:-1]", ".spec.list[:5]", ".spec.list[1:1]", ".spec.list[9:9]", ".spec.list[*]", ".spec.list[]", ".spec.nothing[*]", ".spec.nothing[0]", ".spec.list.*",
    ".spec.text[0]", ".spec.text.*", ".spec.number[0]", ".spec.object[0]", ".spec.none[0]", ".spec.none.x", ".spec.missing[0]", ".spec.missing.x", ".spec.missing", ".spec.number.x",
    ".spec.list[0,2]", ".spec.list[3, 1]", ".spec['text','number']", ".spec['number', 'text']", ".spec.list[0,9]", ".spec['text']", ".spec.one['only']", ".spec.one.only",
    ".spec['dotted\\.key']", ".spec.dotted\\.key", ".spec['dotted.key']", ".spec['sp ace']", ".spec.dash-ed", ".spec.uni.ключ", ".spec.one.*", ".spec.one[*]",
    ".spec.items[*].name", ".spec.items[0].name", ".spec.items.name", ".spec.items[*]['name','value']", ".spec.items[-1:].value", ".spec.items[*].in.deep", ".spec.items[1].in.deep",
    '.spec.items[?(@.name=="y")].value', ".spec.items[?(@.name=='y')].value", ".spec.items[?(@.name == 'y')].value", ".spec.items[?(@.value>1)].name", ".spec.items[?(@.value>=2)].name", ".spec.items[?(@.value<2)].name", ".spec.items[?(@.value<=1)].name", ".spec.items[?(@.value!=1)].name",
    ".spec.items[?(@.value>1.5)].name", ".spec.items[?(@.value==3.5)].name", ".spec.items[0:2][?(@.value>1)].name", ".spec.items[0:2]", '.spec.items[?(@.name=="z)")].value', '.spec.items[?(@.name!="x")].name', '.spec.items[?(@.name>"x")].name', ".spec.items[?(@.on==true)].name", ".spec.items[?(@.on==false)].name", ".spec.items[?(@.on<true)].name", ".spec.items[?(@.on)].name", ".spec.items[?(@.in)].name", ".spec.items[?(@.tag)].name",
    ".spec.items[?(@.in.deep=='p')].name", ".spec.items[?(@.name===\"y\")].name", ".spec.items[?(@.name=y)].name", ".spec.items[?(@.name==@.name)].value", ".spec.items[?('x'==@.name)].value", ".spec.items[?(1==1)].value", ".spec.items[?(@)].value", ".spec.items[?(@.missing=='x')].value", ".spec.mixed[?(@.v==1)].v", ".spec.nulls[?(@.a==1)].a", ".spec.nulls[*].a", ".spec.nulls[0]",
    ".spec.list[?(@=='b')]", ".spec.numbers[?(@>1)]", ".spec.numbers[?(@==2.5)]", ".spec.one[?(@=='x')]", ".spec.text[?(@=='x')]", ".spec.none[?(@.a)]", ".spec.lists[*][0]", ".spec.lists[0][1]", ".spec.lists[*][1]", ".spec.lists[?(@[0]==3)]", ".spec.items[*][?(@.a)]", ".spec.items[?(@.value>\"1\")].name",
    ".spec.deep..name", "..only", "..missing", ".spec.list..x", ".spec.lists..", ".spec.text..", ".spec.deep..",
    ".spec 'text'", ".spec \"a\\tb\"", ".spec 'it\\'s'", ".spec '\\x41\\u00e9\\101'", ".spec 5", ".spec -1.5", ".spec true", ".spec.list[*] 7", ".spec bad", ".spec@", ".spec$.number", ".spec @ .number", ".spec.number}x{.spec.text", ".spec.number}{.spec.bad", ".spec.number}{bad", ".spec.number}", ".spec.missing}{.spec.text", ".kind", ".metadata.name", ".spec.\\number",
    "..spec.number", ".spec.number ", ".spec.yes[0]", ".spec.number.", ".spec.items[*]", ".spec.items[?(@.name)]",
)  # fmt: skip
PATHS = tuple(dict.fromkeys(PATHS))
BROKEN: tuple[str, ...] = (
    ".spec[", ".spec[]]", ".spec[a]", ".spec[1:2:3:4]", ".spec['a", ".spec[\"a\"]", ".spec{", ".spec 'a", ".spec....x", ".spec...x", ".spec,x", ".spec#", ".spec #", ".spec[?(@.a]", ".spec[?(@.a)", ".spec[?()]", ".spec[?(@.a==)]", ".spec[-]", ".spec[99999999999999999999]", ".spec 1.2.3", ".spec -", ".spec '\\q'", ".spec '\\ud800'", ".spec['a'b]", ".spec[ 0 ]", ".spec[0,]", ".spec[,]", ".spec\nx", ".spec[(@.length-1)]", ".spec[?(@.a=='b)]", ".spec[?(@.a=='b')&&(@.c)]",
    ".spec[?(@.a==1 || @.b==2)]", ".spec.items[?(@.name=~'y')].name", ".spec[$]", ".spec.one..*", ".spec.a]b", ".spec.*\\", ".spec\\",
)  # fmt: skip
REFUSED = ("no.dot", "$.spec", "{.spec}", "[0]", "")


def define(plural: str, columns: list[Json]) -> Json:
    made = version(schema=OPEN, additionalPrinterColumns=columns)
    return crd(GROUP, made, plural=plural, kind=plural.title())


def shown(plural: str, columns: list[Json], spec: Json | None = None) -> tuple[Step, ...]:
    path = f"/apis/{GROUP}/v1/namespaces/default/{plural}"
    thing = {"apiVersion": f"{GROUP}/v1", "kind": plural.title(), "metadata": {"name": "a"}, "spec": spec or SPEC}
    return (
        Step("POST", CRDS, define(plural, columns), is_told=False),
        Step("POST", path, thing, is_told=False),
        Step("GET", f"{path}/a?includeObject=None", None, TABLE),
        Step("DELETE", f"{CRDS}/{plural}.{GROUP}", is_told=False),
    )


def column(name: str, type_: str, path: str) -> Json:
    return {"name": name, "type": type_, "jsonPath": path}


CASES = [
    *(Case(f"all as {type_}", shown(f"{type_}s", [column(path, type_, path) for path in PATHS])) for type_ in ("string", "integer", "number", "boolean", "date")),
    *(Case(f"broken: {path!r}", shown(f"broken{index}s", [column("before", "string", ".kind"), column("broken", "string", path), column("after", "string", ".kind")])) for index, path in enumerate(BROKEN)),
    *(Case(f"refused: {path!r}", dry(define("refused", [column("A", "string", path)]))) for path in REFUSED),
]  # fmt: skip
