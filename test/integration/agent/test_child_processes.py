"""Download processes as they are: their limits, their lock, their words, their end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from support.eventually import eventually
from support.http import answer, scripted_server

from localmodel.agent.childlock import DownloadLock
from localmodel.agent.childplan import FILES, ChildPlan
from localmodel.agent.childprocess import Child, ChildExit
from localmodel.agent.children import Children
from localmodel.agent.errors import DownloadSetupError, EarlierDownloadError
from localmodel.agent.scratch import Scratch

KEY = "0123456789abcdef"
FOREVER = "import time\nwhile True: time.sleep(60)"


class Agent:
    """The processes of one agent, each of which runs a Python script in place of the download."""

    def __init__(self, directory: Path, script: str = "", *, grace: float = 5.0) -> None:
        self.notes = directory / "notes"
        self.notes.mkdir(exist_ok=True)
        self.scratch = Scratch(directory)
        program = (sys.executable, "-c", script) if script else None
        self.children = Children(self.notes, self.scratch, program=program, grace=grace)
        self.ended = threading.Semaphore(0)
        self.children.on_change = self.ended.release
        self.destination = directory / "destination"
        self.destination.mkdir(exist_ok=True)

    def plan(self, **fields: Any) -> ChildPlan:
        given = {
            "key": KEY,
            "attempt": 1,
            "uri": "http://h/model.bin",
            "destination": self.destination,
            "cache": "iris",
        }
        return ChildPlan(**{**given, "memory_bytes": 256 << 20, **fields})

    def start(self, **fields: Any) -> Child:
        return self.children.start(self.plan(**fields))

    def run(self, **fields: Any) -> ChildExit:
        child = self.start(**fields)
        while child.exit is None:
            assert self.ended.acquire(timeout=60)
        return child.exit

    def told(self) -> Any:
        """What a script has written as JSON into the destination."""
        return json.loads((self.destination / "told").read_text())


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Callable[..., Agent]]:
    made: list[Agent] = []

    def make(script: str = "", **options: Any) -> Agent:
        made.append(Agent(tmp_path, script, **options))
        return made[-1]

    yield make
    for one in made:
        one.children.close()


TELL = "import json, os, sys\ndef tell(it): open(os.path.join(sys.argv[-1], 'told'), 'w').write(json.dumps(it))\n"

# what it is given ---------------------------------------------------------------------------------------------------


def test_it_has_an_environment_made_from_nothing(agent: Callable[..., Agent], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", "/secret")
    monkeypatch.setenv("NODE_NAME", "node-1")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy")
    monkeypatch.setenv("LOCALMODEL_DOWNLOAD_MAX_ATTEMPTS", "7")
    it = agent(TELL + "tell(dict(os.environ))")
    it.run(env={"HF_TOKEN": "hf_canary"})
    env = it.told()
    assert not {"KUBECONFIG", "NODE_NAME"} & env.keys()
    assert env["HTTPS_PROXY"] == "http://proxy"
    assert env["LOCALMODEL_DOWNLOAD_MAX_ATTEMPTS"] == "7"
    assert env["HF_TOKEN"] == "hf_canary"
    assert env["HOME"] == env["TMPDIR"] == str(it.scratch.directory / KEY)


def test_its_credentials_are_files_of_its_own_that_go_with_it(agent: Callable[..., Agent]) -> None:
    it = agent(TELL + "p = os.environ['GOOGLE']; tell([p, open(p).read(), oct(os.stat(p).st_mode)])")
    it.run(env={"GOOGLE": f"{FILES}/0/key.json"}, files={"0/key.json": b"canary"})
    path, content, mode = it.told()
    assert (content, mode) == ("canary", "0o100600")
    assert Path(path).is_relative_to(it.scratch.directory)
    assert list(it.scratch.directory.iterdir()) == []


def test_nothing_secret_is_on_its_command_line(agent: Callable[..., Agent]) -> None:
    it = agent(FOREVER)
    child = it.start(env={"HF_TOKEN": "hf_canary"}, files={"0/key": b"canary"}, secrets=frozenset({"hf_canary"}))
    assert b"canary" not in Path(f"/proc/{child.pid}/cmdline").read_bytes()


def test_it_may_not_harm_its_agent(agent: Callable[..., Agent]) -> None:
    it = agent(
        TELL + "import resource as r, ctypes\n"
        "tell({'nice': os.getpriority(os.PRIO_PROCESS, 0), 'data': r.getrlimit(r.RLIMIT_DATA)[0],"
        " 'core': r.getrlimit(r.RLIMIT_CORE)[0], 'oom': open('/proc/self/oom_score_adj').read().strip(),"
        " 'leads': os.getsid(0) == os.getpid(), 'stdin': sys.stdin.read(),"
        " 'privileges': [l.split()[1] for l in open('/proc/self/status') if l.startswith('NoNewPrivs')],"
        " 'io': ctypes.CDLL(None).syscall({'x86_64': 252, 'aarch64': 31}[os.uname().machine], 1, 0)})"
    )
    it.run(memory_bytes=128 << 20)
    assert it.told() == {
        "nice": 19,
        "data": 128 << 20,
        "core": 0,
        "oom": "1000",
        "leads": True,
        "stdin": "",
        "privileges": ["1"],
        "io": 2 << 13 | 7,
    }


# how it ends --------------------------------------------------------------------------------------------------------


def test_it_ends_well(agent: Callable[..., Agent]) -> None:
    assert agent("pass").run() == ChildExit(0)


def test_its_last_words_are_those_of_its_termination_log(agent: Callable[..., Agent]) -> None:
    it = agent("import os, sys; open(os.environ['TERMINATION_LOG'], 'w').write('not found'); print('x'); sys.exit(1)")
    assert it.run() == ChildExit(1, "not found")


def test_without_a_termination_log_what_it_said_last_counts_and_of_its_log_only_errors(
    agent: Callable[..., Agent],
) -> None:
    lines = ['{"event": "fine", "level": "info"}', '{"event": "bad", "level": "error"}', "Traceback"]
    assert agent(f"import sys; [print(line) for line in {lines!r}]; sys.exit(1)").run().message == "bad\nTraceback"


def test_what_it_says_is_logged_without_secrets_and_within_bounds(agent: Callable[..., Agent]) -> None:
    it = agent("import os\nfor n in range(2000): print(os.environ['TOKEN'], n)\nprint('x' * 100000)")
    with capture_logs() as logs:
        it.run(env={"TOKEN": "hf_canary"}, secrets=frozenset({"hf_canary"}))
    said = [entry["said"] for entry in logs if entry["event"] == "download process"]
    assert said[0] == "*** 0"
    assert len(said) == 500
    assert "canary" not in str(logs)


def test_a_secret_that_json_writes_in_another_way_is_no_less_secret(agent: Callable[..., Agent]) -> None:
    secret = 'can"ary'
    it = agent("import json, os\nprint(json.dumps({'event': os.environ['TOKEN'], 'x': os.environ['TOKEN']}))")
    with capture_logs() as logs:
        it.run(env={"TOKEN": secret}, secrets=frozenset({secret}))
    (said,) = (entry for entry in logs if entry["event"] == "download process")
    assert (said["said"], said["said_x"]) == ("***", "***")


def test_a_memory_limit_ends_it_and_nothing_else(agent: Callable[..., Agent]) -> None:
    """The real program, which says so by its exit status."""
    script = (
        "import sys, localmodel.download.main as m\n"
        "def hungry(*a, **k): return [bytearray(1 << 20) for _ in range(1 << 12)]\n"
        "m.download = hungry\n"
        "m.main(sys.argv[1:])"
    )
    ended = agent(script).run(memory_bytes=96 << 20)
    assert (ended.code, ended.message) == (137, "the download ran out of memory: raise its memory limit")


def test_told_to_end_it_may_tidy_up(agent: Callable[..., Agent]) -> None:
    it = agent(
        "import signal, sys, pathlib\n"
        "def end(*_): pathlib.Path(sys.argv[-1], 'tidy').touch(); sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, end); print('ready', flush=True); signal.pause()"
    )
    with capture_logs() as logs:
        child = it.start()
        eventually(lambda: any(entry.get("said") == "ready" for entry in logs))
    assert not it.children.end(KEY)
    eventually(lambda: child.exit)
    assert child.exit == ChildExit(143, "ready", was_ended=True)
    assert (it.destination / "tidy").exists()
    assert it.children.end(KEY)


def test_what_does_not_end_is_killed(agent: Callable[..., Agent]) -> None:
    it = agent("import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('r', flush=True)\n" + FOREVER,
               grace=0.1)  # fmt: skip
    with capture_logs() as logs:
        child = it.start()
        eventually(lambda: any(entry.get("said") == "r" for entry in logs))
    it.children.end(KEY)
    eventually(lambda: child.exit)
    assert child.exit is not None
    assert (child.exit.code, child.exit.was_ended) == (-signal.SIGKILL, True)


def test_its_deadline_ends_it(agent: Callable[..., Agent]) -> None:
    ended = agent(FOREVER).run(deadline_seconds=0.5)
    assert ended.is_late
    assert not ended.was_ended


def test_what_it_left_behind_ends_with_it(agent: Callable[..., Agent]) -> None:
    script = "import subprocess, sys; print(subprocess.Popen(['sleep', '600']).pid)"
    it = agent(script)
    with capture_logs() as logs:
        it.run()
    pid = next(entry["said"] for entry in logs if "said" in entry)
    eventually(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text())


def test_closing_ends_all_and_starts_none_any_more(agent: Callable[..., Agent]) -> None:
    it = agent(FOREVER)
    child = it.start()
    it.children.close()
    assert child.exit is not None
    assert not it.scratch.directory.exists()
    with pytest.raises(EarlierDownloadError):
        it.start()


def test_what_cannot_be_started_is_said_and_leaves_nothing(agent: Callable[..., Agent]) -> None:
    it = agent("pass")
    with pytest.raises(DownloadSetupError, match="no download process can be started"):
        it.start(uri="http://h/\0")
    assert it.children.end(KEY)
    assert list(it.scratch.directory.iterdir()) == []
    assert it.run() == ChildExit(0)


# the lock -----------------------------------------------------------------------------------------------------------


def test_one_key_has_one_process(agent: Callable[..., Agent]) -> None:
    it = agent(FOREVER)
    it.start()
    with pytest.raises(EarlierDownloadError):
        it.start()


def test_another_agent_waits_for_a_process_that_still_runs_and_is_woken_d08(
    agent: Callable[..., Agent], tmp_path: Path
) -> None:
    first = agent(FOREVER)
    child = first.start()
    second = Agent(tmp_path, "pass")
    assert not second.children.end(KEY)
    with pytest.raises(EarlierDownloadError):
        second.start()
    os.kill(child.pid, signal.SIGKILL)
    assert second.ended.acquire(timeout=20)
    assert second.children.end(KEY)
    assert not (first.notes / "downloads" / KEY).exists()


def test_a_lock_leaves_no_file(tmp_path: Path) -> None:
    lock = DownloadLock(tmp_path / "locks" / KEY)
    held = lock.acquire()
    assert held is not None
    assert not lock.is_free()
    lock.release(held)
    assert lock.is_free()
    assert list((tmp_path / "locks").iterdir()) == []


@pytest.mark.parametrize("place", ["locks", f"locks/{KEY}"])
def test_a_lock_follows_no_link(tmp_path: Path, place: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    if "/" in place:
        (tmp_path / "locks").mkdir()
    (tmp_path / place).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"Too many levels|Not a directory"):
        DownloadLock(tmp_path / "locks" / KEY).acquire()
    assert list((tmp_path / "elsewhere").iterdir()) == []


# the agent's own end ------------------------------------------------------------------------------------------------

AGENT = """
import sys, threading
from pathlib import Path
from localmodel.agent.children import Children
from localmodel.agent.childplan import ChildPlan
from localmodel.agent.scratch import Scratch
base = Path(sys.argv[1])
children = Children(base / "notes", Scratch(base), program=(sys.executable, "-c", "import time; time.sleep(600)"))
plan = ChildPlan(key=sys.argv[2], attempt=1, uri="u", destination=base, cache="iris", memory_bytes=1 << 28,
                 files={"0/key": b"canary"})
threading.Thread(target=lambda: print(children.start(plan).pid, flush=True)).start()
threading.Event().wait()
"""


def test_a_process_dies_with_its_agent_however_that_ends(agent: Callable[..., Agent], tmp_path: Path) -> None:
    """The thread that asked for it is long gone by then."""
    it = agent("pass")
    command = [sys.executable, "-c", AGENT, str(tmp_path), KEY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            pid = int(other.stdout.readline())
            eventually(lambda: b"agent.child" not in (said := Path(f"/proc/{pid}/cmdline").read_bytes()) and said)
            assert not it.children.is_free(KEY)
        finally:
            other.kill()
    eventually(lambda: it.children.is_free(KEY))
    assert (it.scratch.directory / KEY / "files" / "0" / "key").exists()
    it.run()
    assert list(it.scratch.directory.iterdir()) == []


# the download itself ------------------------------------------------------------------------------------------------


def test_the_program_downloads(agent: Callable[..., Agent]) -> None:
    it = agent()
    with scripted_server(answer(200, b"weights", {"Content-Type": "application/octet-stream"})) as server:
        assert it.run(uri=f"{server.url}/model.bin") == ChildExit(0)
    assert (it.destination / "model.bin").read_bytes() == b"weights"


def test_a_source_that_hangs_is_given_up_by_the_program_itself(agent: Callable[..., Agent]) -> None:
    release = threading.Event()

    def hang(handler: Any) -> None:
        release.wait(30)
        handler.close_connection = True

    it = agent()
    with scripted_server(hang) as server:
        options = {"READ_TIMEOUT_SECONDS": "0.2", "MAX_ATTEMPTS": "2", "RETRY_SECONDS": "0"}
        env = {f"LOCALMODEL_DOWNLOAD_{name}": value for name, value in options.items()}
        ended = it.run(uri=f"{server.url}/model.bin", env=env)
        release.set()
    assert ended.code == 1
    assert "no answer in time" in ended.message
