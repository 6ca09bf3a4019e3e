"""Answers that are known to differ from the recorded ones, by scenario and step: why, and how far.

Of `texts` the status code and the reason are as recorded, and the rest is not compared; of `others` nothing is.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Known:
    """Steps of one scenario."""

    why: str
    texts: tuple[int, ...] = ()
    others: tuple[int, ...] = ()


NOTHING = Known("")

KNOWN = {
    "r-json": Known("the words of the decoder for wrong types within a field", (74, 76, 77, 79), (75,)),
    "r-deep": Known("the decoder gives up at another depth", (0,), ()),
    "r-yaml": Known("the words of another YAML library", (26, 27, 28, 29), ()),
    "r-types": Known(
        "the message of a bad media type", (30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 47, 48, 49, 50), ()
    ),
    "r-paths": Known("bytes that are not UTF-8 in a message", (33, 45, 72), ()),
    "r-verbs": Known("a kind of its own", (38,), (2, 26)),
    "r-accept": Known(
        "columns of ConfigMaps, and answers in protobuf, which are not given",
        (15, 16, 17, 23, 25, 40, 42, 47, 50, 52, 53, 54, 59, 61, 62, 67, 69, 70, 71, 73, 74, 75, 78, 79, 86, 89, 90),
        (),
    ),
    "r-options": Known(
        "the words about a malformed selector",
        (
            8,
            9,
            10,
            11,
            12,
            13,
            14,
            26,
            59,
            62,
            64,
            65,
            66,
            68,
            70,
            71,
            72,
            73,
            74,
            75,
            77,
            78,
            79,
            80,
            81,
            82,
            83,
            84,
            85,
            89,
            93,
            94,
            96,
            104,
            106,
        ),
        (95, 103),
    ),
    "r-watchoptions": Known("the words about a malformed selector", (3,), ()),
    "r-writeoptions": Known("the first of several faults", (13, 18, 38, 43, 62, 67, 86, 91), ()),
    "r-deleteoptions": Known("the words about a malformed selector", (88,), ()),
    "r-fieldval": Known("the order of warnings", (1, 3, 6, 9, 35, 37, 40, 43, 52, 54, 55, 56, 57, 60, 62, 64, 65), ()),
    "r-metadata": Known("the words of several faults", (14, 17, 22, 26, 47, 54, 55), ()),
    "r-metaupdate": Known(
        "the object within the message", (3, 7, 15, 17, 18, 19, 21, 22, 23, 26, 27, 29, 30, 45, 49, 51), ()
    ),
    "r-jsonpatch": Known("the object within the message", (23, 48), ()),
    "r-mergepatch": Known("the object within the message", (12, 13, 14, 23, 25), ()),
    "r-strategic": Known(
        "defaults and the empty status of Deployments",
        (
            0,
            2,
            3,
            4,
            5,
            6,
            7,
            8,
            9,
            10,
            12,
            13,
            14,
            15,
            16,
            17,
            18,
            19,
            20,
            21,
            22,
            27,
            29,
            31,
            32,
            33,
            35,
            36,
            38,
            39,
            40,
            41,
            43,
            44,
            45,
            46,
            47,
            48,
            49,
            51,
            52,
            53,
            54,
            55,
            56,
            57,
            61,
            62,
        ),
        (30, 37, 50),
    ),
    "r-strategicpod": Known("defaults of Pods", (0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16), ()),
    "r-custompatch": Known("the object within the message", (21, 22, 24), (35,)),
    "r-lists": Known("columns of ConfigMaps", (32, 38), (12, 13)),
    "r-fields": Known("the words about unknown fields", (44,), ()),
    "r-customlists": Known("the defaults of a CRD", (2, 3, 12, 16, 19), (10, 11, 13, 14, 15, 17)),
    "r-watches": Known("columns of ConfigMaps", (13, 16, 17, 18, 19, 20, 22, 24, 32, 33), (30,)),
    "r-watchlive": Known("columns of ConfigMaps", (2,), ()),
    "r-watchcustom": Known("", (3,), ()),
    "r-generation": Known("the empty status of Deployments", (0, 1, 2, 3, 4, 5, 6, 7, 16, 18, 19, 20, 21), (12,)),
    "r-unconditional": Known("validation of built-in kinds", (1, 8, 12, 13), (4, 9, 23, 24)),
    "r-customwrites": Known("the words of validation", (2, 5, 6, 7, 8), ()),
    "r-namespaces": Known("the finalizers of a namespace", (2, 3, 4, 7, 15), ()),
    "r-applybad": Known("a cause that stands twice", (18,), ()),
    "r-applycustom": Known("", (7, 8, 9, 11, 22, 23), (12, 19, 20)),
    "r-applydeploy": Known("the empty status of Deployments", (7, 8, 12, 13, 14, 15), (9,)),
}
