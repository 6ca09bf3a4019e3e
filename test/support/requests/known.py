"""Answers that are known to differ from the recorded ones, by scenario and step: why, and how far.

The list is kept by hand; the test says what is to be taken off it. Of `texts` the status code and the reason are as
recorded, and the rest is not compared; of `others` nothing is.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Known:
    """Steps of one scenario."""

    why: str
    texts: tuple[int, ...] = ()
    others: tuple[int, ...] = ()

    def __contains__(self, index: int) -> bool:
        return index in self.texts or index in self.others


NOTHING = Known("")

KNOWN = {
    "r-json": Known(
        "a key that stands twice in `data`; a number's own digits in the message (1e3 is shown as 1000.0)",
        (74, 79),
        (),
    ),
    "r-deep": Known(
        "the message names the first kind of bracket, not the one at which the decoder gave up",
        (0,),
        (),
    ),
    "r-yaml": Known(
        "the words of another YAML library",
        (26, 27, 28, 29),
        (),
    ),
    "r-types": Known(
        "the message of a bad media type lists the types that are taken",
        (30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 47, 48, 49, 50),
        (),
    ),
    "r-paths": Known(
        "bytes that are not printable are not escaped in a message; a page of /openapi/v3 has its content type",
        (33, 45, 72),
        (),
    ),
    "r-verbs": Known(
        "the service account `default` of a namespace is there at once; no discovery in answer to PUT",
        (38,),
        (2, 26),
    ),
    "r-accept": Known(
        "the descriptions of columns are shorter, and answers are not given in protobuf",
        (15, 16, 17, 23, 25, 40, 42, 47, 50, 52, 53, 54, 59, 61, 62, 67, 69, 70, 71, 73, 74, 75, 78, 79, 86, 89, 90),
        (),
    ),
    "r-options": Known(
        "a malformed selector or continue token is refused in the words of our own parsers, which take "
        "spaces about a field's name and no empty term",
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
    "r-watchoptions": Known(
        "a malformed selector is refused in the words of our own parser",
        (3,),
        (),
    ),
    "r-writeoptions": Known(
        "a character of a field manager's name is escaped as in JSON, not as in Go",
        (13, 18, 38, 43, 62, 67, 86, 91),
        (),
    ),
    "r-deleteoptions": Known(
        "a malformed selector is refused in the words of our own parser",
        (88,),
        (),
    ),
    "r-fieldval": Known(
        "warnings about keys that stand twice come before those about unknown fields; of an apply all unknown fields "
        "are told, not those of one level",
        (1, 3, 6, 7, 9, 15, 24, 25, 32, 35, 37, 40, 41, 42, 43, 49, 52, 54, 55, 56, 57, 60, 62, 64),
        (),
    ),
    "r-metadata": Known(
        "a fault of a generated name is one of generateName; a generated suffix and a deletion in the body of a create",
        (14, 17, 22, 26, 47, 54, 55),
        (),
    ),
    "r-metaupdate": Known(
        "a cause that stands twice; the fields of the object within a message come in another order",
        (3, 7, 15, 17, 18, 19, 21, 22, 23, 26, 27, 29, 30, 45, 49, 51),
        (),
    ),
    "r-jsonpatch": Known(
        "the fields of the object within a message come in another order",
        (23, 48),
        (),
    ),
    "r-mergepatch": Known(
        "the fields of the object within a message come in another order",
        (12, 13, 14, 23, 25),
        (),
    ),
    "r-strategic": Known(
        "generation is not raised by what defaulting takes back; patches that make no sense are refused "
        "in other words, or (30, 37, 50) at another step: $retainKeys, $setElementOrder and "
        "$deleteFromPrimitiveList are not held against the rest of the patch",
        (
            2,
            3,
            8,
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
            31,
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
    "r-strategicpod": Known(
        "every pod has a service account, which the recorded server's admission did not give",
        (0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16),
        (),
    ),
    "r-custompatch": Known(
        "a JSON patch that leaves no object behind is refused only where the result is none",
        (),
        (35,),
    ),
    "r-lists": Known(
        "the descriptions of columns are shorter; a deletion by pages deletes all; a version of the "
        "future is 504 as of a watch",
        (32, 38),
        (12, 13),
    ),
    "r-fields": Known(
        "the words about a field that a kind cannot be selected by",
        (44,),
        (),
    ),
    "r-customlists": Known(
        "a list of custom resources by pages; bad methods and paths of custom resources are refused as "
        "those of built-in kinds, and not in protobuf",
        (2, 3, 12, 16, 19),
        (10, 11, 13, 14, 15, 17),
    ),
    "r-watches": Known(
        "the descriptions of columns are shorter; a bookmark may be of a later version; the ConfigMap of the root "
        "CA is there; POST below /watch is a create",
        (13, 16, 17, 18, 22, 24, 32, 33),
        (30,),
    ),
    "r-watchlive": Known(
        "the descriptions of columns are shorter",
        (2,),
        (),
    ),
    "r-watchcustom": Known(
        "the deletion has another version",
        (3,),
        (),
    ),
    "r-generation": Known(
        "a change that defaulting takes back does not raise the generation; a missing object's scale is "
        "named as the object; what the server allots to a Service is owned by its writer; a patch that "
        "makes no Scale is 400",
        (3, 4, 5, 6, 7, 16, 18, 19, 20, 21),
        (12,),
    ),
    "r-unconditional": Known(
        "times of an Event and what the server allots to a Service are owned by their writer; null lists are left out",
        (4, 8, 9, 12, 13),
        (),
    ),
    "r-customwrites": Known(
        "a status write of metadata is noted with nobody",
        (5, 7, 8),
        (),
    ),
    "r-namespaces": Known(
        "finalizers of a namespace that it is made with are noted with the namespace's finalize",
        (2, 3, 4, 7, 15),
        (),
    ),
    "r-applybad": Known(
        "a cause that stands twice",
        (18,),
        (),
    ),
    "r-applycustom": Known(
        "a map below a field that keeps unknown fields is not owned itself; a null that is applied to "
        "such a field is dropped, not refused (12, 19, 20); an item without its key is told without its index (15)",
        (7, 8, 9, 11, 15, 22, 23),
        (12, 19, 20),
    ),
    "r-applydeploy": Known(
        "what the server allots to a Service is owned by its writer; containers without their key are "
        "refused as an apply, before validation",
        (14, 15),
        (9,),
    ),
}
