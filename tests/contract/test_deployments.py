"""Deployments: accepted at once, carried out whole, undone exactly, told truly."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import pytest
from tests.contract.conftest import Site
from tests.e2e.harness import FAILED, SUCCESS, eventually

from headgate.errors import ConflictError, InvalidRequestError, NotFoundError, RefusedError
from headgate.v1 import deployment_pb2 as dp, environment_pb2 as ep

pytestmark = pytest.mark.e2e

UNDONE = dp.DEPLOYMENT_STATUS_ROLLED_BACK


def test_deployment_is_pending_then_done_and_says_what_changed(site: Site) -> None:
    site.create(variables={"PORT": "80"})
    site.write("app.conf", "port ${PORT} $PORT ${HOST:-here} $${PORT} $uri ${MISSING}\n")
    asked = site.client.deploy(site.name, reason="first", on_behalf_of="bob")
    assert asked.status == dp.DEPLOYMENT_STATUS_PENDING
    done = site.finish(asked)
    assert done.status == SUCCESS, done
    assert site.files() == {"app.conf": b"port 80 80 here ${PORT} $uri ${MISSING}\n"}
    assert (done.kind, done.sequence, done.reason, done.on_behalf_of) == (
        dp.DEPLOYMENT_KIND_DEPLOY,
        1,
        "first",
        "bob",
    )
    assert done.trigger == dp.DEPLOYMENT_TRIGGER_REQUEST
    (added,) = done.changes.added
    assert (added.path, added.HasField("before"), added.after.kind) == ("app.conf", False, dp.FILE_KIND_FILE)
    assert added.after.size == len(site.files()["app.conf"])
    assert done.changes.added_count == 1
    assert done.config_version.startswith("sha256:")
    assert done.deployment_id.startswith(f"deploy_{site.name}_")
    assert done.deployed_by
    assert done.HasField("finished_at")


def test_next_one_changes_what_changed(site: Site) -> None:
    site.create()
    site.write("b.conf", "b\n")
    site.write("c.conf", "c\n")
    site.deploy()
    site.write("app.conf", "two\n")
    site.world.remove(site.source, "b.conf")
    done = site.deploy()
    assert [each.path for each in done.changes.modified] == ["app.conf"]
    assert [each.path for each in done.changes.removed] == ["b.conf"]
    assert (done.changes.added_count, done.changes.unchanged_count) == (0, 1)
    assert site.files() == {"app.conf": b"two\n", "c.conf": b"c\n"}


def test_nothing_to_do_succeeds(site: Site) -> None:
    site.create()
    site.deploy()
    again = site.deploy()
    assert (again.status, again.sequence) == (SUCCESS, 2)
    assert not any((again.changes.added_count, again.changes.modified_count, again.changes.removed_count))


def test_some_files_only(site: Site) -> None:
    site.create()
    site.write("b.conf", "b\n")
    done = site.deploy("b.conf")
    assert (done.status, list(done.config_files)) == (SUCCESS, ["b.conf"])
    assert site.files() == {"b.conf": b"b\n"}
    missing = site.deploy("nothing.conf")
    assert (missing.status, missing.error.reason) == (FAILED, "FILE_NOT_FOUND")
    with pytest.raises(InvalidRequestError):
        site.deploy("../outside")


def test_later_source_lies_over_an_earlier_one(site: Site) -> None:
    over = site.world.source(f"{site.name}-over")
    site.write("b.conf", "b\n")
    site.world.write(over, "app.conf", "over\n")
    site.create(sources=[site.source, over])
    site.deploy()
    assert site.files() == {"app.conf": b"over\n", "b.conf": b"b\n"}


def test_plan_tells_what_deploy_would_do(site: Site) -> None:
    site.create()
    site.deploy()
    site.write("app.conf", "two\n")
    site.write("new.conf", "new\n")
    plan = site.client.plan(site.name)
    assert [each.path for each in plan.changes.modified] == ["app.conf"]
    assert [each.path for each in plan.changes.added] == ["new.conf"]
    diffs = {each.path: each.unified for each in plan.diffs}
    assert "-one" in diffs["app.conf"]
    assert "+two" in diffs["app.conf"]
    assert not plan.HasField("blocked")
    assert not site.client.plan(site.name, diff=False).diffs
    assert site.files() == {"app.conf": b"one\n"}, "a plan changes nothing"
    assert site.deploy().config_version == plan.config_version


def test_plan_tells_of_edits_and_of_what_is_in_the_way(site: Site) -> None:
    site.create()
    site.deploy()
    site.world.edit(site.target, "app.conf", "edited\n")
    eventually(lambda: [each.path for each in site.client.plan(site.name).drifted] == ["app.conf"])
    site.world.remove(site.source, "app.conf")
    assert site.client.plan(site.name).blocked.reason == "SOURCE_EMPTY"


def test_sources_without_a_file_need_a_word(site: Site) -> None:
    site.create()
    site.deploy()
    site.world.remove(site.source, "app.conf")
    refused = site.deploy()
    assert (refused.status, refused.error.reason) == (FAILED, "SOURCE_EMPTY")
    assert site.files() == {"app.conf": b"one\n"}
    assert site.deploy(allow_empty=True).status == SUCCESS
    assert site.files() == {}


def test_removing_most_files_needs_a_word(site: Site) -> None:
    site.create()
    for number in range(12):
        site.write(f"{number}.conf", "x\n")
    site.deploy()
    for number in range(8):
        site.world.remove(site.source, f"{number}.conf")
    refused = site.deploy()
    assert (refused.status, refused.error.reason) == (FAILED, "MASS_REMOVAL")
    assert len(site.files()) == 13
    assert site.deploy(allow_mass_removal=True).status == SUCCESS
    assert len(site.files()) == 5


def test_foreign_file_is_left_and_comes_back_with_a_rollback(site: Site) -> None:
    site.create()
    site.write("b.conf", "b\n")
    site.deploy("app.conf")
    site.world.edit(site.target, "b.conf", "mine\n")
    site.world.edit(site.target, "foreign.conf", "theirs\n")
    done = site.deploy()
    assert site.files()["b.conf"] == b"b\n"
    undone = site.finish(site.client.rollback(done.deployment_id))
    assert undone.status == SUCCESS, undone
    assert site.files() == {"app.conf": b"one\n", "b.conf": b"mine\n", "foreign.conf": b"theirs\n"}


def test_rollback_restores_and_both_records_say_so(site: Site) -> None:
    site.create()
    first = site.deploy()
    site.write("app.conf", "bad\n")
    site.write("new.conf", "new\n")
    bad = site.deploy()
    back = site.finish(site.client.rollback(bad.deployment_id, reason="bad"))
    assert (back.status, back.kind) == (SUCCESS, dp.DEPLOYMENT_KIND_ROLLBACK)
    assert back.deployment_id.startswith(f"rollback_{site.name}_")
    assert site.files() == {"app.conf": b"one\n"}
    assert back.rollback_info.target_deployment_id == bad.deployment_id
    assert list(back.rollback_info.undone) == [bad.deployment_id]
    was = site.client.get_deployment(bad.deployment_id)
    assert (was.status, was.rollback_info.rolled_back_by) == (UNDONE, back.deployment_id)
    assert site.client.get_deployment(first.deployment_id).status == SUCCESS


def test_rollback_sticks_until_the_source_changes_there(site: Site) -> None:
    """Promise 4."""
    site.create(auto_sync=True)
    site.follows(app="one\n")
    site.write("app.conf", "bad\n")
    site.follows(app="bad\n")
    bad = eventually(lambda: newest(site, with_status=SUCCESS, sequence=2))
    site.finish(site.client.rollback(bad.deployment_id))
    assert site.files() == {"app.conf": b"one\n"}
    eventually(lambda: site.state() == ep.SYNC_STATE_HELD)
    hold = site.client.get_environment(site.name).sync.hold
    assert list(hold.paths) == ["app.conf"]
    site.write("app.conf", "good\n")
    site.follows(app="good\n")


def newest(site: Site, *, with_status: int, sequence: int) -> Any:
    found = next(site.client.list_deployments(site.name))
    return found if (found.status, found.sequence) == (with_status, sequence) else None


def test_rollback_from_the_middle_is_refused_with_the_later_ones(site: Site) -> None:
    site.create()
    first = site.deploy()
    site.write("app.conf", "two\n")
    second = site.deploy()
    with pytest.raises(RefusedError) as caught:
        site.client.rollback(first.deployment_id)
    assert (caught.value.reason, caught.value.paths) == ("LATER_DEPLOYMENTS", (second.deployment_id,))
    assert "--include-later" in caught.value.hint
    back = site.finish(site.client.rollback(first.deployment_id, include_later=True))
    assert list(back.rollback_info.undone) == [second.deployment_id, first.deployment_id]
    assert site.files() == {}


def test_what_a_rollback_undid_is_in_nobodys_way(site: Site) -> None:
    site.create()
    first = site.deploy()
    site.write("app.conf", "two\n")
    second = site.deploy()
    site.finish(site.client.rollback(second.deployment_id))
    assert site.finish(site.client.rollback(first.deployment_id)).status == SUCCESS
    assert site.files() == {}


def test_what_cannot_be_rolled_back_says_why(site: Site) -> None:
    site.create()
    done = site.deploy()
    failed = site.deploy("nothing.conf")
    site.finish(site.client.rollback(done.deployment_id))
    for deployment_id, reason in (
        (done.deployment_id, "ALREADY_ROLLED_BACK"),
        (failed.deployment_id, "NOT_REACHED"),
    ):
        with pytest.raises(RefusedError) as caught:
            site.client.rollback(deployment_id)
        assert (caught.value.reason, bool(caught.value.hint)) == (reason, True)
    with pytest.raises(NotFoundError) as missing:
        site.client.rollback(f"deploy_{site.name}_1")
    assert missing.value.reason == "DEPLOYMENT_NOT_FOUND"


def test_restore_returns_to_what_one_left(site: Site) -> None:
    site.create()
    first = site.deploy()
    for text in ("two\n", "three\n"):
        site.write("app.conf", text)
        site.deploy()
    back = site.finish(site.client.restore(first.deployment_id))
    assert (back.status, back.kind) == (SUCCESS, dp.DEPLOYMENT_KIND_RESTORE)
    assert (len(back.rollback_info.undone), back.config_version) == (2, first.config_version)
    assert site.files() == {"app.conf": b"one\n"}


def test_restore_brings_back_what_was_rolled_back(site: Site) -> None:
    site.create()
    done = site.deploy()
    site.finish(site.client.rollback(done.deployment_id))
    assert site.files() == {}
    site.finish(site.client.restore(done.deployment_id))
    assert site.files() == {"app.conf": b"one\n"}


def test_adoption_keeps_an_edit(site: Site) -> None:
    site.create()
    site.deploy()
    with pytest.raises(RefusedError) as caught:
        site.client.adopt(site.name)
    assert caught.value.reason == "NOT_DRIFTED"
    site.world.edit(site.target, "app.conf", "edited\n")
    done = site.finish(site.client.adopt(site.name))
    assert (done.status, done.kind) == (SUCCESS, dp.DEPLOYMENT_KIND_ADOPT)
    assert site.files() == {"app.conf": b"edited\n"}
    assert not site.client.plan(site.name).drifted
    site.finish(site.client.rollback(done.deployment_id))
    assert site.files() == {"app.conf": b"one\n"}


def test_export_is_what_one_left(site: Site) -> None:
    site.create(variables={"A": "1"})
    site.write("app.conf", "a=${A}\n")
    done = site.deploy()
    site.write("app.conf", "later\n")
    site.deploy()
    raw = b"".join(site.client.export_deployment(done.deployment_id))
    with tarfile.open(fileobj=io.BytesIO(raw)) as archive:
        contents = {each.name: archive.extractfile(each) for each in archive if each.isfile()}
        assert {name: file.read() for name, file in contents.items() if file} == {"app.conf": b"a=1\n"}
    failed = site.deploy("nothing.conf")
    with pytest.raises(RefusedError) as caught:
        list(site.client.export_deployment(failed.deployment_id))
    assert caught.value.reason == "NOT_REACHED"


def test_finished_one_cannot_be_cancelled(site: Site) -> None:
    site.create()
    done = site.deploy()
    with pytest.raises(RefusedError) as caught:
        site.client.cancel_deployment(done.deployment_id)
    assert caught.value.reason == "NOT_CANCELLABLE"
    assert caught.value.message == f"cannot cancel {done.deployment_id}: it is over (success)"
    assert caught.value.hint == f"undo it: headgate rollback {done.deployment_id}"
    assert "rollback" in caught.value.hint


def test_same_request_id_gives_the_first_answer_also_after_a_restart(site: Site) -> None:
    site.create()
    first = site.client.deploy(site.name, request_id=f"{site.name}-once")
    site.finish(first)
    site.world.restart()
    again = site.client.deploy(site.name, request_id=f"{site.name}-once")
    assert (again.deployment_id, again.status) == (first.deployment_id, SUCCESS)
    assert len(list(site.client.list_deployments(site.name))) == 1
    with pytest.raises(ConflictError) as caught:
        site.client.deploy(site.name, reason="another", request_id=f"{site.name}-once")
    assert caught.value.reason == "REQUEST_ID_REUSED"


def test_expected_sequence_refuses_when_somebody_was_faster(site: Site) -> None:
    site.create()
    done = site.deploy(expected_sequence=0)
    for ask in (
        lambda: site.client.deploy(site.name, expected_sequence=0),
        lambda: site.client.rollback(done.deployment_id, expected_sequence=0),
        lambda: site.client.restore(done.deployment_id, expected_sequence=7),
    ):
        with pytest.raises(ConflictError) as caught:
            ask()
        assert caught.value.reason == "SEQUENCE_MISMATCH"
    assert site.deploy(expected_sequence=1).sequence == 2


def test_history_is_listed_newest_first_in_pages(site: Site) -> None:
    site.create()
    done = [site.deploy() for _ in range(4)]
    failed = site.deploy("nothing.conf")
    ids = [each.deployment_id for each in (*done, failed)][::-1]
    assert [each.deployment_id for each in site.client.list_deployments(site.name, page_size=2)] == ids
    chosen = site.client.list_deployments(site.name, statuses=["failed"])
    assert [each.deployment_id for each in chosen] == [failed.deployment_id]
    first = next(site.client.list_deployments(site.name, statuses=["success"]))
    assert not first.changes.added, "counts in place of lists"
    assert next(site.client.list_deployments()).deployment_id == ids[0]


def test_unknown_names_are_not_found(site: Site) -> None:
    for ask, reason in (
        (lambda: site.client.deploy("nobody"), "ENVIRONMENT_NOT_FOUND"),
        (lambda: site.client.plan("nobody"), "ENVIRONMENT_NOT_FOUND"),
        (lambda: next(site.client.list_deployments("nobody")), "ENVIRONMENT_NOT_FOUND"),
        (lambda: site.client.get_deployment("deploy_nobody_1"), "DEPLOYMENT_NOT_FOUND"),
        (lambda: site.client.wait_for_deployment("deploy_nobody_1"), "DEPLOYMENT_NOT_FOUND"),
        (lambda: next(site.client.watch_environments("nobody")), "ENVIRONMENT_NOT_FOUND"),
    ):
        with pytest.raises(NotFoundError) as caught:
            ask()
        assert (caught.value.reason, bool(caught.value.hint)) == (reason, True), caught.value


def test_deployment_that_nobody_confirms_is_taken_back(site: Site) -> None:
    site.create()
    site.deploy()
    site.write("app.conf", "locks out\n")
    asked = site.finish(site.client.deploy(site.name, confirm_within=1.0))
    assert (asked.status, asked.HasField("confirm_by")) == (SUCCESS, True)
    with pytest.raises(RefusedError) as caught:
        site.client.deploy(site.name)
    assert caught.value.reason == "AWAITS_CONFIRMATION"
    eventually(lambda: site.files() == {"app.conf": b"one\n"})
    undo = eventually(lambda: newest(site, with_status=SUCCESS, sequence=3))
    assert undo.trigger == dp.DEPLOYMENT_TRIGGER_AUTO_ROLLBACK
    assert site.client.get_deployment(asked.deployment_id).status == UNDONE
    with pytest.raises(RefusedError) as caught:
        site.client.confirm_deployment(asked.deployment_id)
    assert caught.value.reason == "NOT_AWAITING_CONFIRMATION"


def test_confirmed_deployment_stays(site: Site) -> None:
    site.create()
    asked = site.finish(site.client.deploy(site.name, confirm_within=600.0))
    kept = site.client.confirm_deployment(asked.deployment_id)
    assert kept.HasField("confirmed_at")
    assert kept.confirmed_by == kept.deployed_by
    assert site.client.confirm_deployment(asked.deployment_id).confirmed_by == kept.confirmed_by
    site.write("app.conf", "two\n")
    assert site.deploy().status == SUCCESS


def test_confirmation_is_asked_for_within_bounds(site: Site) -> None:
    site.create()
    with pytest.raises(InvalidRequestError) as caught:
        site.client.deploy(site.name, confirm_within=0.5)
    assert [fault.field for fault in caught.value.faults] == ["confirm_within"]
