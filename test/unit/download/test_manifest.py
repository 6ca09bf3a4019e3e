import hashlib
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localmodel.download import FileEntry, InvalidURIError, Manifest, compute_digest
from localmodel.download.manifest import check_path

entries = st.lists(
    st.builds(
        FileEntry,
        path=st.from_regex(r"[a-zä]{1,5}(/[a-z0-9._-]{1,2}x){0,2}", fullmatch=True),
        size=st.integers(0, 1 << 50),
        sha256=st.binary(max_size=3).map(lambda data: hashlib.sha256(data).hexdigest()),
    ),
    max_size=8,
    unique_by=lambda entry: entry.path,
)


def test_the_digest_is_the_sha256_of_the_sorted_lines() -> None:
    files = [FileEntry(path="b", size=2, sha256="22" * 32), FileEntry(path="a", size=1, sha256="33" * 32)]
    text = f"sha256:{'22' * 32} 2 b\nsha256:{'33' * 32} 1 a\n"
    assert compute_digest(files) == "sha256:" + hashlib.sha256(text.encode()).hexdigest()


@settings(max_examples=40, deadline=None)
@given(entries, st.randoms())
def test_the_digest_does_not_depend_on_the_order_of_the_files(files: list[FileEntry], rng: random.Random) -> None:
    shuffled = list(files)
    rng.shuffle(shuffled)
    assert compute_digest(shuffled) == compute_digest(files)


@settings(max_examples=40, deadline=None)
@given(entries)
def test_any_change_of_a_file_changes_the_digest(files: list[FileEntry]) -> None:
    for index, entry in enumerate(files):
        changed = FileEntry(path=entry.path, size=entry.size + 1, sha256=entry.sha256)
        assert compute_digest([*files[:index], changed, *files[index + 1 :]]) != compute_digest(files)


@settings(max_examples=40, deadline=None)
@given(entries)
def test_a_manifest_survives_json(files: list[FileEntry]) -> None:
    manifest = Manifest.of(uri="hf://o/m", revision=None, files=files)
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_the_files_of_a_manifest_are_sorted_by_path(tmp_path: Path) -> None:
    files = [FileEntry(path=path, size=1, sha256="0" * 64) for path in ("b", "a/z", "a")]
    manifest = Manifest.of(uri="u", revision="r", files=files)
    manifest.write(tmp_path / "m.json")
    assert [entry.path for entry in Manifest.read(tmp_path / "m.json").files] == ["a", "a/z", "b"]
    assert manifest.total_size == 3


def test_a_manifest_that_contradicts_itself_is_refused() -> None:
    data = Manifest.of(uri="u", revision=None, files=[FileEntry(path="a", size=1, sha256="0" * 64)]).to_json()
    with pytest.raises(ValueError, match="contradicts"):
        Manifest.from_json(data.replace(b'"totalSize": 1', b'"totalSize": 2'))


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a\nb", ".localmodel/x", "a/"])
def test_a_path_that_leaves_the_model_is_refused(path: str) -> None:
    with pytest.raises(InvalidURIError):
        check_path(path)
    data = Manifest.of(uri="u", revision=None, files=[FileEntry(path=path, size=1, sha256="0" * 64)]).to_json()
    with pytest.raises(ValueError, match="file"):
        Manifest.from_json(data)
