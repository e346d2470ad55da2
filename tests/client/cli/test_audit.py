"""`headgate audit`."""

from __future__ import annotations

import re

from tests.client.cli.conftest import Run
from tests.client.fake_daemon import FakeDaemon

from headgate.v1 import daemon_pb2 as pb


def test_list_tells_who_asked_for_what_newest_first(run: Run, daemon: FakeDaemon) -> None:
    lines = run("audit", "list", "-n", "3").out.splitlines()
    assert lines[0].split() == ["NUMBER", "AT", "USER", "WHAT", "WHERE", "OUTCOME", "WHY"]
    assert [line.split()[0] for line in lines[1:]] == ["7", "6", "5"]
    assert "Deploy" in lines[1]
    entries = run("audit", "list", "--all", "-o", "json").json["entries"]
    assert [entry["sequence"] for entry in entries] == [7, 6, 5, 4, 3, 2, 1]
    assert entries[0]["user"] == "ann"
    assert entries[0]["uid"] == 0


def test_list_tells_how_many_refusals_are_not_in_the_log(run: Run, daemon: FakeDaemon) -> None:
    daemon.refusals = [
        pb.AuditEntry(
            sequence=8,
            phase="refused",
            user="eve",
            method="Deploy",
            code="PERMISSION_DENIED",
            message="no",
            omitted=7,
        ),
        pb.AuditEntry(sequence=9, phase="refused", user="eve", omitted=480),
    ]
    only, first = run("audit", "list", "-n", "2", COLUMNS="160").out.splitlines()[1:]
    said = "more refused", "480 refusal(s) before this are not listed"
    assert re.split("  +", only) == ["9", "-", "eve", *said]
    assert first.endswith("PERMISSION_DENIED  7 refusal(s) before this are not listed; no")


def test_verify_exits_with_1_if_anything_is_damaged(run: Run, daemon: FakeDaemon) -> None:
    assert run("audit", "verify").out == "the audit log is whole: 7 line(s), the newest is 7 ab\n"
    assert run("audit", "verify", "-o", "json").json["damages"] == []
    daemon.damages = ["audit.jsonl: line 2\x1b was changed"]
    out = run("audit", "verify", code=1).out
    assert out.splitlines() == [
        "audit.jsonl: line 2\\x1b was changed",
        "1 damage(s): 7 line(s), the newest is 7 ab",
    ]
