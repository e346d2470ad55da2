"""What a power cut brought back at a target is found by the daemon after the next start of the machine."""

from __future__ import annotations

import sqlite3

from tests.e2e.harness import eventually, running
from tests.torture.trees import alike


def test_daemon_removes_what_a_power_cut_brought_back_and_leaves_what_only_has_such_a_name() -> None:
    with running() as daemon:
        source, target = daemon.home / "source", daemon.home / "target"
        source.mkdir()
        (source / "f").write_text("one\n")
        with daemon.client() as client:
            client.create_environment(
                "web", type="development", config_path=str(target), sources=[str(source)]
            )
            eventually(lambda: alike(source, target))
            (source / "f").write_text("two\n")
            eventually(lambda: alike(source, target))
            newest = next(iter(client.list_deployments("web"))).deployment_id
            client.wait_for_deployment(newest, 30)
        assert daemon.stop() == 0
        sql = sqlite3.connect(daemon.state / "history.db")
        token = sql.execute("SELECT token FROM deployments ORDER BY sequence DESC").fetchone()[0]
        sql.close()
        back, foreign = target / f".headgate-{token}-0", target / ".headgate-0123456789ab-0"
        back.write_text("one\n")
        foreign.write_text("not ours\n")
        (daemon.state / "boot").write_text("another start of the machine")
        daemon.start()
        eventually(lambda: not back.exists())
        eventually(lambda: (daemon.state / "boot").read_text() != "another start of the machine")
        assert foreign.read_text() == "not ours\n"
        assert (target / "f").read_text() == "two\n"
