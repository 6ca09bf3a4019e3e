"""The knobs of a download, read from the environment because a Job's container has nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from localmodel.download.errors import DownloadError

_PREFIX = "LOCALMODEL_DOWNLOAD_"


@dataclass(frozen=True, kw_only=True)
class DownloadOptions:
    """How a download behaves; each field can be set by the variable `LOCALMODEL_DOWNLOAD_<FIELD>`.

    connect_timeout_seconds: how long a connection may take to be made (15).
    read_timeout_seconds: how long a source may stay silent before it counts as stalled (30).
    max_attempts: how often in a row a request may fail without a byte of progress in between (5).
    retry_seconds: the wait after the first failure; it doubles with each up to 30 s, or as Retry-After says (1).
    parallel_files: how many files are fetched at the same time (4).
    max_bytes_per_second: a cap on the bandwidth of the whole download, 0 for none (0).
    chunk_bytes: how much is read and written at once (1 MiB).
    """

    connect_timeout_seconds: float = 15
    read_timeout_seconds: float = 30
    max_attempts: int = 5
    retry_seconds: float = 1
    parallel_files: int = 4
    max_bytes_per_second: int = 0
    chunk_bytes: int = 1 << 20

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> DownloadOptions:
        """The options with those overridden that `env` names. Raises DownloadError on a value that is no number."""
        return cls(
            connect_timeout_seconds=_number(env, "CONNECT_TIMEOUT_SECONDS", cls.connect_timeout_seconds, minimum=0.01),
            read_timeout_seconds=_number(env, "READ_TIMEOUT_SECONDS", cls.read_timeout_seconds, minimum=0.01),
            max_attempts=int(_number(env, "MAX_ATTEMPTS", cls.max_attempts, minimum=1)),
            retry_seconds=_number(env, "RETRY_SECONDS", cls.retry_seconds, minimum=0),
            parallel_files=int(_number(env, "PARALLEL_FILES", cls.parallel_files, minimum=1)),
            max_bytes_per_second=int(_number(env, "MAX_BYTES_PER_SECOND", cls.max_bytes_per_second, minimum=0)),
            chunk_bytes=int(_number(env, "CHUNK_BYTES", cls.chunk_bytes, minimum=4096)),
        )


def _number(env: Mapping[str, str], name: str, default: float, *, minimum: float) -> float:
    text = env.get(_PREFIX + name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        raise DownloadError(f"{_PREFIX}{name} must be a number, not {text!r}") from None
    if not minimum <= value < float("inf"):
        raise DownloadError(f"{_PREFIX}{name} must be at least {minimum}, not {text}")
    return value
