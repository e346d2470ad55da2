"""History is verified, collected and given out, on a real deployer."""

from __future__ import annotations

import io
import os
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from headgated import ConfigurationDeployer, EnvironmentType
from headgated.core.config import RetentionSettings, Settings
from headgated.core.errors import HistoryDamagedError, NotFoundError, RefusedError, UnavailableError
from headgated.core.orders import Caller, RestoreOrder, RollbackOrder
from headgated.engine import housekeeping
from headgated.engine.housekeeping import PIECE, Housekeeping
from headgated.engine.ledger import utc_now

ME = Caller("alice")
Keep = Callable[..., Housekeeping]


@pytest.fixture
def deployer(tmp_path: Path) -> Iterator[ConfigurationDeployer]:
    with ConfigurationDeployer(tmp_path / "state") as deployer:
        yield deployer


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    return source


@pytest.fixture
def ids(deployer: ConfigurationDeployer, source: Path, tmp_path: Path) -> list[str]:
    """Five deployments of `web`; one file stays, one changes each time, one comes each time."""
    deployer.create_environment("web", EnvironmentType.TESTING, tmp_path / "target", sources=[source])
    (source / "stays").write_text("stays\n")
    made = []
    for n in range(1, 6):
        (source / "changes").write_bytes(b"%d\n" % n * 20_000)
        (source / f"comes{n}").write_text(f"comes {n}\n")
        made.append(deployer.deploy_configuration("web").deployment_id)
    return made


@pytest.fixture
def keeping(deployer: ConfigurationDeployer) -> Keep:
    """Make a housekeeping with rules of one's own."""

    def make(clock: Callable[[], datetime] = utc_now, **rules: float) -> Housekeeping:
        settings = replace(RetentionSettings(), **rules)  # type: ignore[arg-type]
        return Housekeeping(deployer.environments, deployer.ledger, deployer.history, settings, clock)

    return make


def held(deployer: ConfigurationDeployer) -> list[str]:
    return [deployment_id for _, deployment_id in deployer.history.applied_ids("web", 0)]


def members(archive: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive), errors="surrogateescape") as opened:
        return {member.name: member for member in opened}


def test_nothing_goes_by_default(deployer: ConfigurationDeployer, ids: list[str]) -> None:
    assert deployer.housekeeping.collect().deployments == 0
    assert held(deployer) == ids


def test_count_keeps_the_newest(deployer: ConfigurationDeployer, ids: list[str], keeping: Keep) -> None:
    done = keeping(count=3).collect()
    assert done.deployments == 2
    assert done.contents > 0
    assert held(deployer) == ids[2:]
    assert deployer.housekeeping.verify() == []
    deployer.restore_deployment(ids[2])


def test_age_is_that_of_the_record(deployer: ConfigurationDeployer, ids: list[str], keeping: Keep) -> None:
    keeping(lambda: utc_now() + timedelta(hours=1), max_age=2 * 3600).collect()
    assert held(deployer) == ids
    keeping(lambda: utc_now() + timedelta(hours=3), max_age=2 * 3600).collect()
    assert held(deployer) == ids[3:], "what is there and the state before it stay at any age"


def test_size_counts_what_only_history_needs(
    deployer: ConfigurationDeployer, ids: list[str], source: Path, keeping: Keep
) -> None:
    history = deployer.history
    base, sizes = history.weigh(ids[::-1])
    assert 40_000 < base < 50_000
    assert all(40_000 < size < 50_000 for size in list(sizes.values())[:4])
    assert sizes[ids[0]] < 10_000, "what the first left, the second replaced"
    assert keeping(max_size=base + sum(sizes.values()) + history.size()).collect().deployments == 0
    keeping(max_size=base + sum(sizes[name] for name in ids[2:])).collect()
    assert held(deployer) == ids[2:]
    keeping(max_size=1).collect()
    assert held(deployer) == ids[3:]
    assert history.size() < 400_000


def test_what_a_hold_names_stays(deployer: ConfigurationDeployer, ids: list[str], keeping: Keep) -> None:
    undoing = deployer.rollback_deployment(ids[4])
    assert undoing.status.reached
    for n in range(3):
        deployer.deploy_configuration("web", [f"comes{n + 1}"])
    hold = replace(deployer.get_environment_config("web"), hold=None)
    deployer.restore_deployment(ids[3])
    held_by = deployer.get_environment_config("web").hold
    assert held_by is not None
    assert hold.hold is None
    keeping(count=1).collect()
    assert held_by.deployment_id in held(deployer)


def test_what_somebody_is_about_to_return_to_stays(
    deployer: ConfigurationDeployer, ids: list[str], keeping: Keep
) -> None:
    job = deployer.jobs.prepare(RestoreOrder(ids[0]), ME)
    assert keeping(count=1).collect().deployments == 0
    deployer.jobs.run(job)
    assert keeping(count=1).collect().deployments == 4


def test_deleted_environment_goes_by_the_limits_alone(
    deployer: ConfigurationDeployer, ids: list[str], keeping: Keep
) -> None:
    deployer.remove_environment("web")
    keeping(count=1).collect()
    assert held(deployer) == ids[4:]
    later = keeping(lambda: utc_now() + timedelta(days=100))
    assert later.collect().deployments == 1
    assert deployer.history.verify() == []


def test_nothing_is_even_looked_for_where_no_deployment_goes(
    deployer: ConfigurationDeployer, ids: list[str], keeping: Keep
) -> None:
    assert keeping().collect(only_if_any=True).contents == 0
    assert keeping(count=3).collect(only_if_any=True).deployments == 2


def test_memory_that_a_collection_took_is_given_back(
    ids: list[str], keeping: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back: list[bool] = []
    monkeypatch.setattr(housekeeping, "give_back", lambda: given_back.append(True))
    assert ids
    keeping().collect(only_if_any=True)
    assert given_back == []
    keeping().collect()
    assert given_back == [True]


def test_deployment_that_ends_meanwhile_stays(deployer: ConfigurationDeployer, ids: list[str]) -> None:
    """What was not yet there when the decision fell is not what it is about."""
    among = frozenset(ids[:2])
    assert deployer.history.collect(frozenset(), among=among).deployments == 2
    assert held(deployer) == ids[2:]


def test_collected_is_refused_at_once(deployer: ConfigurationDeployer, ids: list[str], keeping: Keep) -> None:
    keeping(count=3).collect()
    before = len(deployer.list_deployments())
    for order in (
        RollbackOrder(ids[0]),
        RollbackOrder(ids[0], include_later=True),
        RestoreOrder(ids[1]),
    ):
        with pytest.raises(RefusedError) as caught:
            deployer.jobs.prepare(order, ME)
        assert caught.value.reason == "HISTORY_COLLECTED"
        assert order.deployment_id in caught.value.message
        assert f"headgate restore {ids[2]}" in caught.value.hint
    with pytest.raises(RefusedError) as caught:
        next(deployer.housekeeping.export(ids[0]))
    assert caught.value.reason == "HISTORY_COLLECTED"
    assert len(deployer.list_deployments()) == before, "nothing was begun"


def test_verify_names_what_is_damaged_and_nothing_is_collected_then(
    deployer: ConfigurationDeployer, ids: list[str], keeping: Keep, tmp_path: Path
) -> None:
    assert deployer.housekeeping.verify() == []
    with sqlite3.connect(tmp_path / "state" / "history.db") as sql:
        sql.execute("UPDATE contents SET content = ? WHERE content = ?", (b"STAYS\n", b"stays\n"))
    sql.close()
    lines = deployer.housekeeping.verify()
    assert len(lines) == 1
    assert "not those that were stored" in lines[0]
    with pytest.raises((HistoryDamagedError, RefusedError)):
        list(deployer.housekeeping.export(ids[4]))


def test_export_is_what_the_deployment_left(
    deployer: ConfigurationDeployer, source: Path, tmp_path: Path
) -> None:
    deployer.create_environment(
        "web", EnvironmentType.TESTING, tmp_path / "target", {"PORT": "80"}, sources=[source]
    )
    (source / "deep" / ("long" * 50)).mkdir(parents=True)
    (source / "deep" / ("long" * 50) / ("name" * 50)).write_text("port ${PORT}\n")
    (source / "empty").mkdir(mode=0o700)
    (source / "big").write_bytes(os.urandom(3 * PIECE + 7))
    (source / "script").write_text("#!/bin/sh\n")
    (source / "script").chmod(0o750)
    (source / "link").symlink_to("./script")
    Path(os.fsdecode(bytes(source) + b"/odd-\xff")).write_text("odd\n")
    record = deployer.deploy_configuration("web")
    (source / "script").unlink()
    deployer.deploy_configuration("web")
    pieces = list(deployer.housekeeping.export(record.deployment_id))
    assert {len(piece) for piece in pieces[:-1]} == {PIECE}
    archive = b"".join(pieces)
    assert len(archive) % tarfile.RECORDSIZE == 0
    found = members(archive)
    assert found["script"].mode == 0o750
    assert found["link"].linkname == "./script"
    assert found["empty"].isdir()
    assert found["empty"].mode == 0o700
    with tarfile.open(fileobj=io.BytesIO(archive), errors="surrogateescape") as opened:
        assert opened.extractfile("deep/" + "long" * 50 + "/" + "name" * 50).read() == b"port 80\n"  # type: ignore[union-attr]
        assert opened.extractfile("big").read() == (source / "big").read_bytes()  # type: ignore[union-attr]
        assert opened.extractfile(os.fsdecode(b"odd-\xff")).read() == b"odd\n"  # type: ignore[union-attr]


def test_export_holds_a_deployment_until_it_is_done(
    deployer: ConfigurationDeployer, ids: list[str], keeping: Keep
) -> None:
    rules = keeping(count=1)
    pieces = rules.export(ids[1])
    first = next(pieces)
    assert rules.collect().deployments == 1
    assert set(members(first + b"".join(pieces))) == {"stays", "changes", "comes1", "comes2"}
    assert rules.collect().deployments == 2


def test_export_that_is_given_up_holds_nothing(ids: list[str], keeping: Keep) -> None:
    rules = keeping(count=1)
    pieces = rules.export(ids[0])
    next(pieces)
    pieces.close()
    assert rules.collect().deployments == 3


def test_export_refuses_what_there_is_not(
    deployer: ConfigurationDeployer, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    for directory in (source, target):
        (directory / "there").write_text("already\n")
        (directory / "there").chmod(0o644)
    deployer.create_environment("web", EnvironmentType.TESTING, target, sources=[source])
    record = deployer.deploy_configuration("web")
    with pytest.raises(RefusedError) as caught:
        next(deployer.housekeeping.export(record.deployment_id))
    assert (caught.value.reason, caught.value.paths) == ("CONTENT_NOT_HELD", ("there",))
    with pytest.raises(NotFoundError):
        next(deployer.housekeeping.export("deploy_web_1"))
    waiting = deployer.jobs.prepare(RollbackOrder(record.deployment_id), ME)
    with pytest.raises(RefusedError) as caught:
        next(deployer.housekeeping.export(waiting.record.deployment_id))
    assert caught.value.reason == "NOT_REACHED"


def test_daemon_that_stops_waits_for_none_of_it(
    deployer: ConfigurationDeployer, ids: list[str], source: Path, keeping: Keep
) -> None:
    (source / "big").write_bytes(bytes(3 * PIECE))
    rules = keeping(count=1)
    pieces = rules.export(deployer.deploy_configuration("web").deployment_id)
    next(pieces)
    rules.stop()
    for work in (rules.verify, rules.collect, lambda: list(pieces)):
        with pytest.raises(UnavailableError) as caught:
            work()
        assert caught.value.reason == "STOPPING"
    assert deployer.history.verify() == []


def test_settings_reach_the_deployers_own(tmp_path: Path, source: Path) -> None:
    settings = Settings(retention=RetentionSettings(count=1))
    with ConfigurationDeployer(tmp_path / "state", settings=settings) as deployer:
        deployer.create_environment("web", EnvironmentType.TESTING, tmp_path / "target", sources=[source])
        for n in range(4):
            (source / "a").write_text(f"{n}\n")
            deployer.deploy_configuration("web")
        assert deployer.housekeeping.collect().deployments == 2
