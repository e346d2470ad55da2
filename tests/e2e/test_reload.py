"""The configuration is read again, all or nothing."""

from __future__ import annotations

import signal

import pytest
from tests.e2e.conftest import Site
from tests.e2e.harness import HALTED, SYNCED, Daemon, eventually, state_of

from headgate import Client
from headgate.errors import HeadgateError

pytestmark = pytest.mark.e2e


def reasons(client: Client) -> set[str]:
    return {problem.reason for problem in client.status().problems}


def test_reload_names_what_is_different_and_what_takes_a_restart(daemon: Daemon, client: Client) -> None:
    assert client.reload() == []
    daemon.config.write_text(
        '[settle]\nquiet = "1s"\n[daemon]\nsocket_group = "adm"\ncheck_directory = "/x"\n[roots]\nsources = ["/a"]\n'
    )
    assert client.reload() == [
        "settle.quiet: 0.02 -> 1",
        "roots.sources: [] -> [/a]",
        "daemon.socket_group: headgate -> adm (takes a restart)",
        'daemon.check_directory: "" -> /x (takes a restart)',
    ]
    assert reasons(client) == {"RESTART_NEEDED"}
    daemon.config.write_text("")
    assert client.reload() == ["settle.quiet: 1 -> 0.02", "roots.sources: [/a] -> []"]
    assert reasons(client) == set()


@pytest.mark.parametrize("how", ["api", "SIGHUP"])
def test_bad_file_leaves_the_old_one_in_force_and_is_told_everywhere(
    daemon: Daemon, client: Client, how: str
) -> None:
    daemon.config.write_text('[roots]\ntargets = ["/good"]\n')
    client.reload()
    daemon.config.write_text('[roots]\ntargets = ["/other"]\n[settle]\nquite = 1\nlatest = "x"\n')
    if how == "api":
        with pytest.raises(HeadgateError) as caught:
            client.reload()
        for told in ("line 4: settle.quite: is unknown; did you mean quiet?", "line 5: settle.latest"):
            assert told in str(caught.value)
        assert caught.value.reason == "CONFIG_REJECTED"
        assert [fault.field for fault in caught.value.faults] == [
            "line 4: settle.quite",
            "line 5: settle.latest",
        ]
    else:
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGHUP)
        eventually(lambda: "CONFIG_REJECTED" in reasons(client))
    (problem,) = client.status().problems
    assert "line 4: settle.quite" in problem.message
    assert "line 4: settle.quite" in daemon.log()
    with pytest.raises(HeadgateError, match=r"outside the allowed roots .*/good"):
        client.create_environment("web", type="testing", config_path=str(daemon.home / "t"))
    daemon.config.write_text("")
    assert client.reload() == ["roots.targets: [/good] -> []"]
    assert reasons(client) == set()


def test_file_that_others_may_write_or_that_has_vanished_is_not_taken(daemon: Daemon, client: Client) -> None:
    daemon.config.chmod(0o666)
    with pytest.raises(HeadgateError, match="others may write it"):
        client.reload()
    daemon.config.unlink()
    with pytest.raises(HeadgateError, match="No such file"):
        client.reload()
    assert reasons(client) == {"CONFIG_REJECTED"}


def test_daemon_does_not_start_with_a_file_that_others_may_write(daemon: Daemon) -> None:
    daemon.stop()
    daemon.config.chmod(0o666)
    daemon.start(wait=False)
    process, daemon.process = daemon.process, None
    assert process is not None
    assert process.wait(20) == 2
    assert "others may write it" in daemon.log()


def test_environment_outside_of_new_roots_is_not_deployed_until_they_hold_it_again(site: Site) -> None:
    client, daemon = site.client, site.daemon
    eventually(lambda: state_of(client, "web") == SYNCED)
    daemon.config.write_text('[roots]\nsources = ["/nowhere"]\n')
    client.reload()
    assert state_of(client, "web") == HALTED
    (site.source / "app.conf").write_text("two\n")
    with pytest.raises(HeadgateError, match="outside the allowed roots"):
        client.wait_for_deployment(client.deploy("web").deployment_id, timeout=20)
    daemon.stop()
    daemon.start()
    assert state_of(client, "web") == HALTED
    assert (site.target / "app.conf").read_text() == "one\n"
    daemon.config.write_text("")
    client.reload()
    eventually(lambda: (site.target / "app.conf").read_text() == "two\n")
