"""Bad input gets a clear error and the right exit code, changes nothing, and leaves the daemon up."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from tests.e2e.conftest import Site
from tests.e2e.harness import Daemon, eventually, running, same

from headgate.errors import InvalidRequestError

pytestmark = pytest.mark.e2e


def create(daemon: Daemon, name: str, target: Path | str, *sources: Path | str) -> tuple[int, str]:
    arguments = ["env", "create", name, "--type", "testing", "--target", str(target)]
    for source in sources:
        arguments += ["--source", str(source)]
    done = daemon.cli(*arguments, check=False)
    return done.returncode, done.stderr


BAD_REQUESTS = [
    (["env", "show", "nowhere"], 3, "no environment"),
    (["deploy", "nowhere"], 3, "no environment"),
    (["plan", "nowhere"], 3, "no environment"),
    (["plan", "wbe"], 3, "(did you mean web?)"),
    (["rollback", "web"], 3, "web is an environment; its deployments: headgate deployments --env web"),
    (["show", "deploy_web_1"], 3, "deploy_web_1"),
    (["rollback", "deploy_web_1"], 3, "deploy_web_1"),
    (["restore", "nonsense"], 3, "nonsense"),
    (["deploy", "web", "missing.conf"], 1, "missing.conf"),
    (["deploy", "web", "../escape"], 2, "config_files"),
    (["env", "set", "web", "--var", "1BAD=x"], 2, "1BAD"),
    (["env", "frobnicate"], 2, "frobnicate"),
]


def test_bad_requests_are_told_apart_and_harm_nothing(site: Site) -> None:
    """One daemon for all of them: none may leave anything behind for the next."""
    eventually(lambda: same(site.source, site.target))
    for arguments, code, says in BAD_REQUESTS:
        done = site.daemon.cli(*arguments, check=False)
        assert done.returncode == code, (arguments, done.stderr)
        assert says in done.stderr, arguments
        assert "Traceback" not in done.stderr, arguments
        assert same(site.source, site.target), arguments
    assert site.daemon.cli("status").returncode == 0


def test_more_faults_than_an_answer_holds_are_counted(site: Site) -> None:
    home, many = site.daemon.home, 3000
    variables = [f"bad-{number}" for number in range(many)]
    options = [part for name in variables for part in ("--var", f"{name}=1")]
    done = site.daemon.cli(
        *("env", "create", "x", "--type", "testing", "--target", home / "x", "--source", site.source),
        *options,
        check=False,
    )
    first, *listed, last = done.stderr.splitlines()
    assert (done.returncode, first) == (2, "headgate: cannot create environment x: 3000 things are wrong")
    assert all("variables.bad-" in line for line in listed)
    assert (
        last
        == f"  and {many - len(listed)} more, for which an answer has no room: mend these, then ask again"
    )
    with pytest.raises(InvalidRequestError) as caught:
        site.client.create_environment(
            "x",
            type="testing",
            config_path=str(home / "x"),
            sources=[str(site.source)],
            variables=dict.fromkeys(variables, "1"),
        )
    assert 10 < len(caught.value.faults) == many - caught.value.omitted
    assert all(fault.field for fault in caught.value.faults)


def test_record_says_how_many_paths_of_an_error_it_leaves_out(site: Site) -> None:
    done = site.daemon.cli("deploy", "web", *(f"missing/{number}" for number in range(1200)), check=False)
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert "(of 1200 paths 1000 are listed)" in lines[0]
    assert [line for line in lines if line.startswith("  missing/")] == [
        f"  missing/{number}" for number in range(1000)
    ]
    (newest, *_) = site.client.list_deployments("web")
    assert "(of 1200 paths 1000 are listed)" in newest.error.message
    assert "missing/999\n" in site.daemon.cli("show", newest.deployment_id).stdout


def test_bad_environments_are_refused_with_every_fault(site: Site) -> None:
    home = site.daemon.home
    good = home / "good"
    good.mkdir()
    cases = [
        (("Bad Name", home / "t1", good), "name"),
        (("ok", home / "t1", home / "not-there"), "does not exist"),
        (("ok", site.target, good), "overlaps"),
        (("ok", site.target / "inside", good), "overlaps"),
        (("ok", good / "inside", good), "overlaps"),
        (("ok", home, good), "overlaps"),
        (("ok", site.daemon.state / "x", good), "state directory"),
        (("ok", home / "t1", site.daemon.state), "state directory"),
        (("ok", site.source / "app.conf", good), "not a directory"),
    ]
    for (name, target, source), says in cases:
        code, text = create(site.daemon, name, target, source)
        assert code == 2, (name, target, text)
        assert says in text
    code, text = create(site.daemon, "ok", site.source / "app.conf", home / "a", home / "b")
    assert code == 2
    assert all(part in text for part in ("config_path", "sources[0]", "sources[1]")), text
    assert not (site.daemon.state / "environments" / "ok.json").exists()
    code, text = create(site.daemon, "web", home / "t2", good)
    assert code != 0
    assert "web" in text


def test_target_that_is_the_same_by_symlink_is_refused(site: Site) -> None:
    """T1."""
    eventually(lambda: same(site.source, site.target))
    link = site.daemon.home / "link"
    link.symlink_to(site.target)
    good = site.daemon.home / "good"
    good.mkdir()
    code, text = create(site.daemon, "twin", link, good)
    assert code == 2
    assert "overlaps" in text


def test_damaged_and_newer_records_do_not_keep_the_daemon_down() -> None:
    """A6."""
    with running() as daemon:
        with daemon.client() as client:
            for name in ("cut", "newer", "whole"):
                source = daemon.home / f"s-{name}"
                source.mkdir()
                (source / "f").write_text("f\n")
                target = daemon.home / f"t-{name}"
                client.create_environment(
                    name, type="testing", config_path=str(target), sources=[str(source)]
                )
                eventually(partial(same, source, target))
        daemon.stop()
        cut = daemon.state / "environments" / "cut.json"
        cut.write_bytes(cut.read_bytes()[:50])
        newer = daemon.state / "environments" / "newer.json"
        record = json.loads(newer.read_text())
        record["schema_version"] = 99
        newer.write_text(json.dumps(record))
        daemon.start()
        status = daemon.cli("status").stdout
        assert "cut" in status
        assert "newer" in status
        assert json.loads(newer.read_text())["schema_version"] == 99, "left alone"
        assert list(cut.parent.glob("cut.json.corrupt*")), "set aside, bytes kept"
        assert (daemon.home / "t-cut" / "f").read_text() == "f\n", "its target is kept"
        (daemon.home / "s-whole" / "f").write_text("g\n")
        eventually(lambda: (daemon.home / "t-whole" / "f").read_text() == "g\n")


def test_unreachable_daemon_is_said_so(daemon: Daemon) -> None:
    daemon.stop()
    done = daemon.cli("status", check=False)
    assert done.returncode == 6
    assert str(daemon.socket) in done.stderr
