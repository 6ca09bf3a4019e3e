"""What is told to those who may read events, statuses and logs, and not the URIs' secrets."""

from __future__ import annotations

import io
import json
import logging
import os
from pathlib import Path

import pytest
import structlog
from support.agent import JOBS, World

from localmodel.agent.checks import CHECK_LABEL
from localmodel.agent.shown import brief, log_processor, shown
from localmodel.api.names import storage_key
from localmodel.runtime.logging import setup_logging
from localmodel.runtime.objects import ServiceAccount

CANARY = "canary-5d1c0f"
SIGNED = f"https://me:{CANARY}@models.example/m.bin?X-Amz-Signature={CANARY}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nothing to hide", "nothing to hide"),
        ("hf://Qwen/Qwen2-0.5B@main: 404", "hf://Qwen/Qwen2-0.5B@main: 404"),
        ("s3://bucket/a b", "s3://bucket/a b"),
        (f"got 403 of {SIGNED}; try", "got 403 of https://models.example/m.bin?... try"),
        (f'"https://h/x?sig={CANARY}" and ftp://u:{CANARY}@h/y', '"https://h/x?..." and ftp://h/y'),
        (f"HTTPS://U:{CANARY}@[::1", "HTTPS://U"),
        ("a \udcff name", "a \\udcff name"),
    ],
)
def test_addresses_are_shown_without_what_is_secret_in_them(text: str, expected: str) -> None:
    assert CANARY not in shown(text)
    assert shown(text) == expected or "[::1" in text


def test_a_uri_with_a_password_stands_in_no_status_and_no_event(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.set_config(downloadImage="localmodel-agent:1")
    for name in ("one", "two"):
        world.client.create(ServiceAccount.from_dict({"metadata": {"name": name, "namespace": JOBS}}))
    entries = [
        {"modelName": "m", "namespace": f"team-{name}", "serviceAccountName": name, "sourceModelUri": SIGNED}
        for name in ("one", "two")
    ]
    world.want(*entries, {**entries[0], "namespace": "team-x", "revision": "v2"})
    world.run()
    (job,) = world.jobs
    conditions = [{"type": "Failed", "status": "True", "reason": "Test", "message": f"cannot read {SIGNED}"}]
    world.client.status.patch(job, {"status": {"conditions": conditions, "failed": 1}})
    world.run()
    world.run()
    world.download(next(job for job in world.jobs if not job.is_failed))
    world.run()
    check = next(job for job in world.jobs if CHECK_LABEL in job.metadata.labels)
    world.finish(check, "Failed", failed=1)
    world.run()
    assert {"DownloadFailed", "Downloading", "Downloaded", "CredentialsRejected"} <= set(world.reasons())
    written = json.dumps([world.node.status.to_dict(), world.recorder.lines])
    assert CANARY not in written
    assert "https://models.example/m.bin" in written


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_uri_with_a_password_stands_in_no_log_line(form: str) -> None:
    stream, root = io.StringIO(), logging.getLogger()
    before = root.handlers[:], root.level
    try:
        setup_logging("info", form, stream=stream, last=(log_processor,))  # type: ignore[arg-type]
        structlog.get_logger("test").warning("download failed", uri=SIGNED, error=f"401 of {SIGNED}")
    finally:
        root.handlers[:], _ = before
        root.setLevel(before[1])
        structlog.reset_defaults()
    assert CANARY not in stream.getvalue()
    assert "https://models.example/m.bin" in stream.getvalue()


def test_a_name_that_is_no_text_keeps_no_status_from_being_written(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.want({"modelName": "iris", "sourceModelUri": "s3://a"}, {"modelName": "other", "sourceModelUri": "s3://b"})
    world.run()
    staging = os.fsencode(world.root / "models" / ".staging" / storage_key("s3://a"))
    Path(os.fsdecode(staging + b"/link")).symlink_to(os.fsdecode(b"/etc/\xff"))
    for job in world.jobs:
        world.download(job)
    world.run()
    assert (world.status("iris"), world.status("other")) == ("ModelDownloadError", "ModelDownloaded")
    assert world.model("iris").reason == "VerificationFailed"
    json.dumps(world.node.status.to_dict(), ensure_ascii=False).encode()


def test_a_long_uri_does_not_make_a_status_that_no_api_server_stores() -> None:
    told = brief(f"cannot read s3://{'x' * 60_000}: no such bucket")
    assert len(told) < 2100
    assert told.startswith("cannot read s3://xx")
    assert told.endswith("xx: no such bucket")
