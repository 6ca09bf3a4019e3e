"""Which services a cached model serves: matching of URIs (kserve-behaviour.md 2.7). Plain text, no URL parsing."""

from __future__ import annotations


def match(cached: str, wanted: str) -> bool:
    """Whether `wanted` is the cached URI or lies below it. One trailing slash on either does not count.

    >>> match("gs://bucket/model", "gs://bucket/model/v1"), match("gs://bucket/model", "gs://bucket/model-evil")
    (True, False)
    """
    cached, wanted = cached.removesuffix("/"), wanted.removesuffix("/")
    return wanted == cached or wanted.startswith(cached + "/")


def sub_path(cached: str, wanted: str) -> str:
    """The path of `wanted` below `cached`, without slashes at its ends; raises ValueError where they do not match.

    A slash at the end of the cached URI makes no difference (in KServe it does, D-75).
    """
    if not match(cached, wanted):
        raise ValueError(f"{wanted!r} is neither {cached!r} nor below it")
    return wanted.removesuffix("/")[len(cached.removesuffix("/")) :].strip("/")
