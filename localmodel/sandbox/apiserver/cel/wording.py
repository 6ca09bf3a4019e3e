"""Faults of expressions in cel-go's words, which are those that clients of kube-apiserver know, made of cel-cpp's."""

from __future__ import annotations

import re

_STATUS = re.compile(r"^[A-Z_]+: (.*?)(?: \[[A-Z_]+\])?$", re.DOTALL)
_FAULT = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*?)\n \| ", re.DOTALL)
_WORDINGS = (
    (re.compile(r"(undefined field '[^']*') not found in struct '[^']*'"), r"\1"),
    (
        re.compile(r"expression of type '(.*)' cannot be the operand of a select operation"),
        r"type '\1' does not support field selection",
    ),
    (re.compile(r"has\(\) argument must be a field selection"), "invalid argument to has() macro"),
    (re.compile(r"\bnull_type\b"), "null"),
)
_MEMBER = re.compile(r"found no matching overload for '([A-Za-z0-9_]+)' applied to '\((.*)\)'")
_PATH = re.compile(r"undeclared reference to '([^'.]+)\.([^'.]+)([^']*)' \(in container ''\)")


def message(source: str, text: str, *, has_variables: bool = False) -> str:
    """The faults that the compiler found, in the order of their positions.

    `has_variables` says that the expression may name variables of a policy, so that an unknown one is a missing field.
    """
    match = _STATUS.match(text)
    text = match[1] if match else text
    found = [(int(line), int(column), fault) for line, column, fault in _FAULT.findall(text)]
    lines = source.split("\n")
    if not found or any(line > len(lines) for line, _, _ in found):
        return text
    worded = [(line, *_worded(lines[line - 1], column, fault, has_variables)) for line, column, fault in found]
    return "\n".join(_shown(lines[line - 1], line, column, fault) for line, column, fault in sorted(worded))


def _worded(line: str, column: int, fault: str, has_variables: bool) -> tuple[int, str]:
    """The column and the words."""
    for pattern, replacement in _WORDINGS:
        fault = pattern.sub(replacement, fault)
    if path := _PATH.fullmatch(fault):
        return _undeclared(line, column, path, has_variables)
    member = _MEMBER.fullmatch(fault)
    if member is not None and line[: column - 1].endswith(f".{member[1]}"):
        receiver, *args = _split_types(member[2])
        fault = f"found no matching overload for '{member[1]}' applied to '{receiver}.({', '.join(args)})'"
    return column, fault


def _undeclared(line: str, column: int, path: re.Match[str], has_variables: bool) -> tuple[int, str]:
    """cel-cpp blames the whole path at its last dot, cel-go the name it begins with, or the first unknown field."""
    root, field, rest = path.groups()
    before = line[: column - 1]
    start = before.rfind(f"{root}.{field}" if rest else root)
    if root == "variables" and has_variables:
        return start + len(root) + 1 if start >= 0 else column, f"undefined field '{field}'"
    return start + 1 if start >= 0 else column, f"undeclared reference to '{root}' (in container '')"


def _split_types(text: str) -> list[str]:
    """The types in `list(int), map(string, dyn)`."""
    depth, parts = 0, [""]
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]


def located(source: str, position: int, fault: str) -> str:
    """A fault at a position, in code points from the beginning."""
    before = source[:position]
    line = before.count("\n")
    return _shown(source.split("\n")[line], line + 1, position - before.rfind("\n"), fault)


def _shown(text: str, line: int, column: int, fault: str) -> str:
    return f"ERROR: <input>:{line}:{column}: {fault}\n | {text}\n | {'.' * (column - 1)}^"
