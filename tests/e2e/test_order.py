"""What comes to the disk in which order when somebody asks for a deployment, as strace sees it at the real daemon."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.attached import attached
from tests.e2e.harness import SUCCESS, running

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]

CALLS = "trace=fsync,fdatasync,link,linkat,rename,renameat2"


@pytest.mark.parametrize("late", ["fsync", "fdatasync"])
def test_order_and_who_gave_it_are_on_disk_before_the_target_changes(late: str) -> None:
    """Syncs are made to take long, those of records or those of the two logs: who does not wait for them is found out."""
    with running() as daemon, daemon.client() as client:
        source, target = daemon.home / "source", daemon.home / "target"
        source.mkdir()
        (source / "app.conf").write_text("one\n")
        client.create_environment(
            "web", type="production", config_path=str(target), sources=[str(source)], auto_sync=False
        )
        client.wait_for_deployment(client.deploy("web").deployment_id)
        (source / "app.conf").write_text("two\n")
        done = client.wait_for_deployment(client.deploy("web").deployment_id)
        assert daemon.process is not None
        report = daemon.home / "trace"
        options = ["-y", "-s", "300", "-e", CALLS, "-e", f"inject={late}:delay_enter=100000"]
        try:
            with attached(daemon.process.pid, [*options, "-o", str(report)]):
                undone = client.rollback(done.deployment_id)
                assert client.wait_for_deployment(undone.deployment_id).status == SUCCESS
        except PermissionError as error:
            pytest.skip(f"strace may not trace here: {error}")
        assert (target / "app.conf").read_text() == "one\n"
        found = list(told(report, undone.deployment_id, daemon.home))
    of_record = [n for n, what in enumerate(found) if what == "name of the record"]
    at_target = found.index("name at the target")
    assert found.index("audit line is synced") < of_record[0]
    assert found.index("a record's bytes are synced") < of_record[0]
    assert of_record[0] < found.index("names of records are synced") < at_target
    assert found.index("history is synced") < at_target


def told(report: Path, deployment_id: str, home: Path) -> Iterator[str]:
    """Yield what happened: a sync when it has ended, a name when it is about to be given."""
    state, under_way = home / "state", dict[str, str]()
    synced = {
        re.escape(str(state / "audit.jsonl")): "audit line is synced",
        re.escape(str(state / "history.db-wal")): "history is synced",
        re.escape(str(state / "config_deployments" / "web"))
        + r"/\.headgate-\w+\.tmp": "a record's bytes are synced",
        re.escape(str(state / "config_deployments" / "web")): "names of records are synced",
    }
    for line in report.read_text().splitlines():
        thread, _, call = line.partition(" ")
        call = call.strip()
        if "sync(" in call:
            under_way[thread] = call
        elif "link" in call or "rename" in call:
            if f"{deployment_id}.json" in call:
                yield "name of the record"
            elif str(home / "target") in call:
                yield "name at the target"
        if thread in under_way and " = 0" in call:
            path = under_way.pop(thread).partition("<")[2].partition(">")[0]
            yield from (what for pattern, what in synced.items() if re.fullmatch(pattern, path))
