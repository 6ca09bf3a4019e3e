"""Download processes that a test plays: what an agent starts, and how it ends."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import cast

import msgspec

from localmodel.agent.childplan import ChildPlan
from localmodel.agent.childprocess import Child, ChildExit
from localmodel.agent.children import Children
from localmodel.agent.errors import EarlierDownloadError
from localmodel.agent.scratch import Scratch
from localmodel.download.manifest import FileEntry, Manifest, manifest_path
from localmodel.download.progress import Progress, progress_path


class PlayedChild:
    """What the agent asks of a `Child`."""

    def __init__(self, plan: ChildPlan, pid: int) -> None:
        self.plan = plan
        self.pid = pid
        self.exit: ChildExit | None = None
        self.is_told_to_end = False

    def end(self) -> None:
        self.is_told_to_end = True

    # what a test makes of it

    def reports(self, done: int, total: int) -> None:
        """As `localmodel-download` does while it runs."""
        path = progress_path(self.plan.destination)
        path.parent.mkdir(parents=True, exist_ok=True)
        progress = Progress(
            uri=self.plan.uri,
            state="downloading",
            bytes_done=done,
            bytes_total=total,
            files_done=1,
            files_total=3,
            bytes_per_second=100.0,
            updated_at="2026-01-01T00:00:00.000Z",
        )
        path.write_bytes(msgspec.json.encode(progress))

    def succeeds(self, files: dict[str, bytes]) -> None:
        folder = self.plan.destination
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        entries = [FileEntry(path=name, size=len(content), sha256="0" * 64) for name, content in files.items()]
        manifest_path(folder).parent.mkdir(exist_ok=True)
        Manifest.of(uri=self.plan.uri, revision=None, files=entries).write(manifest_path(folder))
        self.exit = ChildExit(0)

    def fails(self, message: str = "", *, code: int = 1) -> None:
        self.exit = ChildExit(code, message)

    def ends(self) -> None:
        """As it was told to."""
        self.exit = ChildExit(-signal.SIGTERM, was_ended=True)


class PlayedChildren(Children):
    """No processes. `foreign` are the storage keys for which a process of an earlier agent still writes."""

    def __init__(self, notes: Path) -> None:
        super().__init__(notes, Scratch(notes))
        self.started: list[PlayedChild] = []
        self.foreign: set[str] = set()

    def start(self, plan: ChildPlan) -> Child:
        if plan.key in self.foreign:
            raise EarlierDownloadError("waiting")
        child = PlayedChild(plan, pid=100 + len(self.started))
        self.started.append(child)
        self._children[plan.key] = cast(Child, child)
        return cast(Child, child)

    def is_free(self, key: str) -> bool:
        return key not in self.foreign
