"""What a store does to its disk, as scenarios that a test cuts short at each step, and what must hold afterwards.

`act` is what an agent does and does again after a restart, so it leaves alone what is done already.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from localmodel.agent.filesystem import FileSystem
from localmodel.agent.manifest import KeyRecord
from localmodel.agent.store import ModelStore

from .store import FILES, KEY, PUBLICATION, URI, content_of, fill, published, write_notes

FOREIGN: Final = ("lost+found", "my-model", "c" * 16)
"""Folders beside the models that are not the store's."""
_ALTERED: Final = b"\x02" * len(FILES["weights/model.safetensors"])
_RECORD: Final = KeyRecord(uri=URI, attempt=1, outcome="published", references=PUBLICATION.references)


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """`ends`: what `check` says of the model when nothing was cut short. `may_be`: what it may say after a death."""

    name: str
    prepare: Callable[[Path], None]
    act: Callable[[ModelStore], None]
    ends: str
    may_be: frozenset[str]
    downloaded: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """What the node's status calls downloaded when the root is opened."""

    def run(self, root: Path, filesystem: FileSystem | None = None) -> None:
        """One process: it opens the root and acts."""
        store = ModelStore(root, filesystem=filesystem)
        try:
            store.open(self.downloaded)
            self.act(store)
        finally:
            store.close()

    def inspect(self, root: Path) -> None:
        """What must hold after a death at any step, also once the agent has gone on."""
        state = self._look(root)
        assert state in self.may_be, state
        self.run(root)
        assert self._look(root) == self.ends

    def _look(self, root: Path) -> str:
        store = ModelStore(root)
        store.open(self.downloaded)
        state = store.check(KEY)
        if state.is_complete:
            assert content_of(store.models / KEY) == FILES
            assert KEY not in store.staged_keys(), "a second copy was left"
        store.empty_trash()
        assert list(store.trash.iterdir()) == []
        store.close()
        for name in FOREIGN:
            assert content_of(store.models / name) == FILES, f"{name} is not ours"
        return state.kind


def _with_foreign(prepare: Callable[[Path], None]) -> Callable[[Path], None]:
    def both(root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        for name in FOREIGN:
            fill(root / "models" / name)
        prepare(root)

    return both


def _nothing(root: Path) -> None:
    """A root that no agent has seen."""


def _whole(root: Path) -> None:
    store = published(root)
    store.write_record(KEY, _RECORD)
    store.close()


def _downloaded(root: Path, *, notes: bool = True, before: Callable[[ModelStore], None] = lambda _: None) -> None:
    """A download has ended; what was there `before` is in its way."""
    store = ModelStore(root)
    store.open()
    before(store)
    folder = store.prepare_staging(KEY, URI)
    fill(folder)
    if notes:
        write_notes(folder)
    store.close()


def _lost_file(store: ModelStore) -> None:
    _published_in(store)
    (store.models / KEY / "config.json").unlink()


def _altered(store: ModelStore) -> None:
    """Of the same names and sizes, as a scrub finds it."""
    _published_in(store)
    (store.models / KEY / "weights/model.safetensors").write_bytes(_ALTERED)
    manifest = store.manifest(KEY)
    assert manifest is not None
    assert store.condemn(KEY, manifest, "weights/model.safetensors has changed")


def _published_in(store: ModelStore) -> None:
    folder = store.prepare_staging(KEY, URI)
    fill(folder)
    write_notes(folder)
    store.publish(KEY, PUBLICATION)
    store.write_record(KEY, _RECORD)


def _damaged(root: Path) -> None:
    store = ModelStore(root)
    store.open()
    _altered(store)
    store.close()


def _half(root: Path) -> None:
    store = ModelStore(root)
    store.open()
    fill(store.prepare_staging(KEY, URI), {"config.json": b"{"})
    store.write_record(KEY, KeyRecord(uri=URI, attempt=1, references=PUBLICATION.references))
    store.close()


def _publish(store: ModelStore) -> None:
    if not store.check(KEY).is_complete:
        store.publish(KEY, PUBLICATION)
    store.write_record(KEY, _RECORD)


def _remove(store: ModelStore) -> None:
    if KEY in store.known_keys():
        store.remove(KEY)
    store.empty_trash()


def _disown(store: ModelStore) -> None:
    if store.record(KEY).outcome != "removed":
        store.disown(KEY)


def _condemn(store: ModelStore) -> None:
    state = store.check(KEY)
    if state.is_complete and state.manifest is not None:
        store.condemn(KEY, state.manifest, "a file has changed")


def _add_digests(store: ModelStore) -> None:
    state = store.check(KEY)
    if state.manifest is not None and not state.manifest.digest:
        store.add_digests(KEY, state.manifest, dict.fromkeys(FILES, "0" * 64))


def _prepare_again(store: ModelStore) -> None:
    store.prepare_staging(KEY, URI)


def _adopted_root(root: Path) -> None:
    fill(root / "models" / KEY)


_COMPLETE: Final = frozenset({"complete"})
_ABSENT: Final = frozenset({"absent"})
_BOTH: Final = _COMPLETE | _ABSENT
_BROKEN: Final = frozenset({"incomplete"})


def _scenario(
    name: str,
    prepare: Callable[[Path], None],
    act: Callable[[ModelStore], None],
    ends: str,
    may_be: frozenset[str],
    downloaded: Mapping[str, str] = MappingProxyType({}),
) -> Scenario:
    return Scenario(name=name, prepare=_with_foreign(prepare), act=act, ends=ends, may_be=may_be, downloaded=downloaded)


SCENARIOS: Final = [
    _scenario("opening", _nothing, lambda _: None, "absent", _ABSENT),
    _scenario("publication", _downloaded, _publish, "complete", _BOTH),
    _scenario("publication-of-a-foreign-image", lambda r: _downloaded(r, notes=False), _publish, "complete", _BOTH),
    _scenario(
        "publication-over-an-empty-folder",
        lambda r: _downloaded(r, before=lambda s: (s.models / KEY).mkdir()),
        _publish,
        "complete",
        _BOTH | _BROKEN,
    ),
    _scenario(
        "repair-of-a-lost-file",
        lambda r: _downloaded(r, before=_lost_file),
        _publish,
        "complete",
        _BOTH | _BROKEN,
    ),
    _scenario(
        "repair-of-an-altered-file",
        lambda r: _downloaded(r, before=_altered),
        _publish,
        "complete",
        _BOTH | _BROKEN,
    ),
    _scenario("preparation-of-a-repair", _damaged, _prepare_again, "incomplete", _BROKEN),
    _scenario("preparation-over-leftovers", _half, _prepare_again, "absent", _ABSENT),
    _scenario("removal", _whole, _remove, "absent", _BOTH),
    _scenario("removal-of-an-unfinished-download", _half, _remove, "absent", _ABSENT),
    _scenario("disowning", _whole, _disown, "incomplete", _COMPLETE | _BROKEN),
    _scenario("adoption", _adopted_root, lambda _: None, "complete", _COMPLETE, {KEY: URI}),
    _scenario("marking-of-damage", _whole, _condemn, "incomplete", _COMPLETE | _BROKEN),
    _scenario("adding-of-digests", _whole, _add_digests, "complete", _COMPLETE),
]
BY_NAME: Final = {scenario.name: scenario for scenario in SCENARIOS}
