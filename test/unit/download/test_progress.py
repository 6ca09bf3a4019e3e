import json
from pathlib import Path

from support.download import FakeClock

from localmodel.download import Progress, progress_path, read_progress
from localmodel.download.progress import ProgressTracker


def tracker(tmp_path: Path, clock: FakeClock, seen: list[Progress]) -> ProgressTracker:
    progress_path(tmp_path).parent.mkdir()
    return ProgressTracker(uri="hf://o/m", dest=tmp_path, clock=clock, on_progress=seen.append)


def test_the_file_has_the_fields_that_others_rely_on(tmp_path: Path) -> None:
    tracker(tmp_path, FakeClock(), []).enter("resolving", message="hello")
    assert json.loads(progress_path(tmp_path).read_text()) == {
        "uri": "hf://o/m",
        "state": "resolving",
        "bytesDone": 0,
        "bytesTotal": None,
        "filesDone": 0,
        "filesTotal": None,
        "bytesPerSecond": 0.0,
        "updatedAt": "2026-01-01T00:00:00.000Z",
        "message": "hello",
    }


def test_bytes_are_written_at_most_twice_a_second_and_a_state_at_once(tmp_path: Path) -> None:
    clock, seen = FakeClock(), list[Progress]()
    progress = tracker(tmp_path, clock, seen)
    progress.enter("downloading")
    for _ in range(20):
        clock.seconds += 0.1
        progress.received(10)
    progress.enter("done")
    assert len(seen) == 1 + 3 + 1
    assert seen[-1].bytes_done == 200


def test_speed_is_of_the_last_seconds_and_not_of_what_was_found(tmp_path: Path) -> None:
    clock, seen = FakeClock(), list[Progress]()
    progress = tracker(tmp_path, clock, seen)
    progress.enter("downloading")
    progress.found(1_000_000)
    for _ in range(20):
        clock.seconds += 1
        progress.received(100)
    assert seen[-1].bytes_per_second == 100
    assert seen[-1].bytes_done == 1_002_000


def test_there_is_no_progress_where_none_can_be_read(tmp_path: Path) -> None:
    assert read_progress(tmp_path) is None
    progress_path(tmp_path).parent.mkdir()
    progress_path(tmp_path).write_text("{")
    assert read_progress(tmp_path) is None


def test_a_progress_file_that_cannot_be_written_does_not_end_the_download(tmp_path: Path) -> None:
    seen = list[Progress]()
    ProgressTracker(uri="u", dest=tmp_path / "gone", clock=FakeClock(), on_progress=seen.append).enter("downloading")
    assert [progress.state for progress in seen] == ["downloading"]
