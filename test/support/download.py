"""Stand-ins for what a download depends on: time, and a source that is made of dictionaries and fails on demand."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from localmodel.download import Manifest
from localmodel.download.engine import Engine, Seams
from localmodel.download.errors import TransientError
from localmodel.download.sources.base import ArchiveKind, ByteStream, Plan, PlannedFile

URI = "hf://owner/model"
FAST = {"LOCALMODEL_DOWNLOAD_CHUNK_BYTES": "4096"}


class FakeClock:
    """Time that passes only by waiting."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.waits: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.waits.append(seconds)
        self.seconds += seconds
        return event.is_set()


class MemoryStream:
    def __init__(self, content: bytes, offset: int, fail_at: int | None) -> None:
        self.offset = offset
        self._content = content
        self._position = offset
        self._fail_at = fail_at

    def read(self, limit: int) -> bytes:
        end = self._position + limit
        if self._fail_at is not None:
            if self._position >= self._fail_at:
                raise TransientError("the connection broke")
            end = min(end, self._fail_at)
        data = self._content[self._position : end]
        self._position += len(data)
        return data

    def close(self) -> None:
        pass


class MemorySource:
    """Serves `contents`. `opens` lists (path, offset) of each opening."""

    def __init__(
        self,
        contents: Mapping[str, bytes],
        *,
        revision: str | None = "r1",
        digests: bool = True,
        archive: ArchiveKind | None = None,
    ) -> None:
        self.contents = dict(contents)
        self.revision = revision
        self.digests = digests
        self.archive = archive
        self.opens: list[tuple[str, int]] = []
        self.breaks: dict[str, list[int]] = {}  # path -> offsets at which successive connections break
        self.served: dict[str, list[bytes]] = {}  # path -> what successive connections send instead
        self.resumable = True

    def resolve(self) -> Plan:
        files = tuple(self._planned(path, content) for path, content in self.contents.items())
        return Plan(revision=self.revision, files=files, archive=self.archive)

    def _planned(self, path: str, content: bytes) -> PlannedFile:
        sha256 = hashlib.sha256(content).hexdigest()
        return PlannedFile(
            path=path,
            size=len(content),
            sha256=sha256 if self.digests else None,
            identity=sha256,
            open=lambda offset: self._open(path, content, offset),
        )

    def _open(self, path: str, content: bytes, offset: int) -> ByteStream:
        self.opens.append((path, offset))
        served, breaks = self.served.get(path), self.breaks.get(path)
        return MemoryStream(
            served.pop(0) if served else content,
            offset if self.resumable else 0,
            breaks.pop(0) if breaks else None,
        )


def fetch(
    dest: Path,
    source: MemorySource,
    *,
    env: Mapping[str, str] = FAST,
    clock: FakeClock | None = None,
    write: Callable[[int, bytes | memoryview], int] | None = None,
    free_bytes: Callable[[Path], int] | None = None,
    uri: str = URI,
) -> Manifest:
    """Runs a whole download of `source` into `dest`."""
    seams = Seams(
        **({"write": write} if write else {}),  # type: ignore[arg-type]
        **({"free_bytes": free_bytes} if free_bytes else {}),
    )
    return Engine(uri=uri, dest=dest, env=env, clock=clock or FakeClock(), source=source, seams=seams).run()
