"""Environments: created whole or not at all, read as they are, changed exactly as asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.contract.conftest import Site
from tests.e2e.harness import eventually

from headgate.errors import ConflictError, InvalidRequestError, NotFoundError, RefusedError
from headgate.v1 import environment_pb2 as ep

pytestmark = pytest.mark.e2e


def fields(error: InvalidRequestError) -> set[str]:
    """The fields that are wrong, without what they have in common in requests that hold an environment."""
    return {fault.field.removeprefix("environment.") for fault in error.faults}


def test_created_one_is_read_as_it_was_given(site: Site) -> None:
    made = site.create(variables={"PORT": "80"}, policies={"prune": False, "settle_quiet": 0.5})
    assert (made.name, made.type, made.config_path) == (site.name, ep.ENVIRONMENT_TYPE_STAGING, site.target)
    assert (list(made.sources), dict(made.variables)) == ([site.source], {"PORT": "80"})
    assert (made.generation, made.auto_sync, made.policies.prune) == (1, False, False)
    assert made.created_at.ToDatetime(UTC) <= datetime.now(UTC) + timedelta(seconds=1)
    read = site.client.get_environment(site.name)
    assert (read.variables, read.policies, read.created_at) == (
        made.variables,
        made.policies,
        made.created_at,
    )
    assert site.name in [each.name for each in site.client.list_environments()]


@pytest.mark.parametrize(("kind", "by_itself"), [("development", True), ("production", False)])
def test_auto_sync_is_on_except_for_production(site: Site, kind: Any, by_itself: Any) -> None:
    assert site.create(type=kind, auto_sync=None, validate_only=True).auto_sync is by_itself


def test_every_fault_of_a_request_comes_at_once(site: Site) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        site.client.create_environment("Bad", config_path="x", sources=["y"], variables={"9": ""})
    assert fields(caught.value) == {"name", "type", "config_path", "sources[0]", "variables.9"}
    assert "cannot create environment" in caught.value.message


def test_faults_of_every_kind_come_in_one_answer(site: Site) -> None:
    """What the client cannot send, what cannot be right by itself, and what is in the way of what there is."""
    site.create()
    inside = f"{site.source}/t"
    wrong: dict[str, Any] = {"type": "stagin", "variables": {"9": ""}, "sources": [site.source, site.source]}
    for ask, name in (
        (site.client.create_environment, f"{site.name}-2"),
        (site.client.update_environment, site.name),
    ):
        with pytest.raises(InvalidRequestError) as caught:
            ask(name, config_path=inside, **wrong)
        told = [field.field.removeprefix("environment.") for field in caught.value.faults]
        assert set(told) - {"config_path"} == {"type", "variables.9", "sources", "sources[0]"}
        assert told.count("sources[0]") == 1
    read = site.client.get_environment(site.name)
    assert (read.config_path, read.generation) == (site.target, 1)


def test_path_that_is_none_hides_no_other_fault(site: Site) -> None:
    site.create()
    with pytest.raises(InvalidRequestError) as caught:
        site.client.create_environment(
            f"{site.name}-2", type="testing", config_path=site.target, sources=["relative"]
        )
    assert fields(caught.value) == {"config_path", "sources[0]"}


def test_name_that_is_taken_or_not_there_is_told_with_other_faults(site: Site) -> None:
    site.create()
    for ask, name, why in (
        (site.client.create_environment, site.name, "taken"),
        (site.client.update_environment, f"{site.name}-none", "no such environment"),
    ):
        with pytest.raises(InvalidRequestError) as caught:
            ask(name, type="testing", config_path="/x", variables={"9": ""})
        assert fields(caught.value) == {"name", "variables.9"} | (
            {"config_path"} if "/x" in str(caught.value) else set()
        )
        [told] = [fault.message for fault in caught.value.faults if fault.field.endswith("name")]
        assert why in told
    with pytest.raises(RefusedError) as refused:
        site.create(config_path=f"{site.source}/t")
    assert refused.value.reason == "ENVIRONMENT_EXISTS"
    assert [fault.field for fault in refused.value.faults] == ["environment.sources[0]"]


def test_secret_is_a_reference_and_a_value_is_refused_without_repeating_it(site: Site) -> None:
    references = {"TOKEN": "credential:token"}
    site.create(secrets=references)
    assert dict(site.client.get_environment(site.name).secrets) == references
    with pytest.raises(InvalidRequestError) as caught:
        site.client.update_environment(site.name, secrets={"TOKEN": "hunter2-in-clear"})
    assert fields(caught.value) == {"secrets.TOKEN"}
    assert "hunter2" not in str(caught.value)
    assert dict(site.client.get_environment(site.name).secrets) == references


def test_name_that_is_taken_is_refused(site: Site) -> None:
    site.create()
    with pytest.raises(RefusedError) as caught:
        site.create(config_path=f"{site.target}-2")
    assert caught.value.reason == "ENVIRONMENT_EXISTS"
    assert caught.value.hint


def test_target_in_the_way_of_another_is_refused(site: Site) -> None:
    site.create()
    for target in (site.target, f"{site.target}/below", f"{site.source}/below"):
        with pytest.raises(InvalidRequestError, match="overlaps") as caught:
            site.client.create_environment(
                f"{site.name}-2", type="testing", config_path=target, sources=[site.source]
            )
        named = {fault.field for fault in caught.value.faults}
        assert named <= {"environment.config_path", "environment.sources[0]"}, "as the request names them"


def test_validate_only_saves_nothing(site: Site) -> None:
    assert site.create(validate_only=True).generation == 1
    with pytest.raises(NotFoundError) as caught:
        site.client.get_environment(site.name)
    assert caught.value.reason == "ENVIRONMENT_NOT_FOUND"


def test_update_changes_what_is_given_and_nothing_else(site: Site) -> None:
    site.create(variables={"A": "1"}, policies={"prune": False, "verbatim": ["*.sh"]})
    changed = site.client.update_environment(site.name, variables={"B": "2"}, policies={"verbatim": []})
    assert dict(changed.variables) == {"B": "2"}
    assert (changed.policies.prune, list(changed.policies.verbatim)) == (False, [])
    assert (changed.generation, changed.config_path) == (2, site.target)
    same = site.client.update_environment(site.name, variables={"B": "2"})
    assert same.generation == 2, "nothing has changed"


def test_update_of_what_somebody_else_changed_is_a_conflict(site: Site) -> None:
    site.create()
    with pytest.raises(ConflictError) as caught:
        site.client.update_environment(site.name, variables={"A": "1"}, expected_generation=7)
    assert caught.value.reason == "GENERATION_MISMATCH"
    assert not site.client.get_environment(site.name).variables


def test_update_that_cannot_be_is_refused_whole(site: Site) -> None:
    site.create()
    with pytest.raises(InvalidRequestError) as caught:
        site.client.update_environment(site.name, variables={"9": ""}, config_path="relative")
    assert fields(caught.value) == {"variables.9", "config_path"}
    assert site.client.get_environment(site.name).generation == 1


def test_pause_stops_auto_sync_until_resumed(site: Site) -> None:
    site.create(auto_sync=True)
    site.follows(app="one\n")
    paused = site.client.pause_environment(site.name, "holiday")
    assert (paused.sync.state, paused.sync.pause.reason) == (ep.SYNC_STATE_PAUSED, "holiday")
    assert paused.sync.pause.paused_by
    site.write("app.conf", "two\n")
    site.deploy()
    site.follows(app="two\n")  # what people ask for still runs
    site.write("app.conf", "three\n")
    resumed = site.client.resume_environment(site.name)
    assert not resumed.sync.HasField("pause")
    site.follows(app="three\n")


def test_pause_until_the_past_is_a_fault(site: Site) -> None:
    site.create()
    with pytest.raises(InvalidRequestError) as caught:
        site.client.pause_environment(site.name, "x", datetime.now(UTC) - timedelta(days=1))
    assert fields(caught.value) == {"until"}


def test_auto_sync_follows_and_says_synced(site: Site) -> None:
    site.create(auto_sync=True)
    site.follows(app="one\n")
    site.write("new.conf", "new\n")
    site.follows(app="one\n", new="new\n")
    eventually(lambda: site.state() == ep.SYNC_STATE_SYNCED)
    newest = next(site.client.list_deployments(site.name))
    assert (newest.deployed_by, newest.changes.added_count) == ("auto-sync", 1)


def test_source_that_is_emptied_halts(site: Site) -> None:
    """Promise 6."""
    site.create(auto_sync=True)
    site.follows(app="one\n")
    eventually(lambda: site.state() == ep.SYNC_STATE_SYNCED)
    site.world.remove(site.source, "app.conf")
    eventually(lambda: site.state() == ep.SYNC_STATE_HALTED)
    assert site.client.get_environment(site.name).sync.halt.reason == "SOURCE_EMPTY"
    assert site.files() == {"app.conf": b"one\n"}


def test_delete_keeps_the_target_unless_told(site: Site) -> None:
    site.create()
    site.deploy()
    assert site.client.delete_environment(site.name) == ""
    assert site.files() == {"app.conf": b"one\n"}
    with pytest.raises(NotFoundError):
        site.client.get_environment(site.name)


def test_delete_with_its_files_leaves_what_others_put_there(site: Site) -> None:
    site.create()
    site.deploy()
    site.world.edit(site.target, "foreign", "mine\n")
    removed = site.client.delete_environment(site.name, remove_target_files=True)
    assert site.files() == {"foreign": b"mine\n"}
    assert site.client.get_deployment(removed).changes.removed_count == 1


def test_pages_hold_every_one_once(site: Site) -> None:
    for letter in "abc":
        site.client.create_environment(
            f"{site.name}{letter}",
            type="testing",
            config_path=f"{site.target}{letter}",
            sources=[site.source],
        )
    whole = [each.name for each in site.client.list_environments()]
    assert [each.name for each in site.client.list_environments(page_size=2)] == whole == sorted(whole)


def test_page_that_is_too_large_is_a_fault(site: Site) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        next(site.client.list_environments(page_size=1001))
    assert fields(caught.value) == {"page_size"}


def test_status_tells_of_every_environment(site: Site) -> None:
    site.create()
    status = site.client.status()
    assert datetime(2020, 1, 1, tzinfo=UTC) < status.started_at.ToDatetime(UTC) < datetime.now(UTC)
    assert site.name in [each.name for each in status.environments]
    assert [site.name] in [list(each.environments) for each in status.sources if each.path == site.source]
    assert site.client.health()
    assert site.client.reload() == []
    assert not site.client.verify_history().damages
