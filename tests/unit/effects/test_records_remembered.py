"""The index of records: what is remembered is believed only as far as the records bear it out (A6)."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.effects.recorded import deployment

from headgated.core.deployment import Changes, DeploymentStatus, FileChange
from headgated.core.errors import NotFoundError, RecordError
from headgated.core.report import emptied
from headgated.core.tree import Entry, Kind
from headgated.effects.records import DeploymentStore, SetAside, encode_deployment
from headgated.effects.records.remembered import FEW

COUNT = FEW + 5
FAILED = DeploymentStatus.FAILED


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory with just enough records for an index, and that."""
    state = tmp_path_factory.mktemp("made")
    directory = state / "config_deployments" / "prod"
    directory.mkdir(parents=True)
    for n in range(COUNT):
        record = encode_deployment(deployment(f"deploy_prod_{n}", sequence=n + 1))
        (directory / f"deploy_prod_{n}.json").write_bytes(record)
    store = DeploymentStore(state)
    assert store.open() == []
    store.remember()
    return state


@pytest.fixture
def state(made: Path, tmp_path: Path) -> Path:
    """The same with inodes of its own for a few records, which a test may change."""
    state = tmp_path / "state"
    shutil.copytree(made, state, copy_function=os.link)
    for n in range(5):
        path = path_of(state, n)
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    (state / "config_deployments" / "prod.index").unlink()
    store = DeploymentStore(state)
    assert store.open() == []
    store.remember()
    return state


def path_of(state: Path, n: int) -> Path:
    return state / "config_deployments" / "prod" / f"deploy_prod_{n}.json"


def failed(state: Path, n: int) -> bytes:
    """What a hand would make of a record, no byte longer or shorter."""
    return path_of(state, n).read_bytes().replace(b'"success"', b'"failed" ')


def opened(state: Path) -> tuple[DeploymentStore, list[SetAside], int]:
    """Also tell how many records it had to read."""
    store = DeploymentStore(state)
    aside = store.open()
    return store, aside, sum(store._news.values())


def test_records_that_are_as_they_were_are_not_read_again(state: Path) -> None:
    store, aside, read = opened(state)
    assert (aside, read) == ([], 0)
    assert store.check() == []
    assert len(store.by_status("prod", DeploymentStatus.SUCCESS)) == COUNT
    last = store.last("prod")
    assert last is not None
    assert last.sequence == COUNT
    assert store.reserve("prod", deployment().kind, deployment().deployed_at)[1] == COUNT + 1


def test_what_came_went_and_was_replaced_is_seen_at_once(state: Path) -> None:
    path_of(state, 0).unlink()
    new = encode_deployment(deployment("deploy_prod_new", sequence=5000))
    path_of(state, 0).with_name("deploy_prod_new.json").write_bytes(new)
    edited = path_of(state, 1).with_name("draft")
    edited.write_bytes(failed(state, 1))
    edited.rename(path_of(state, 1))
    store, aside, read = opened(state)
    assert (aside, read) == ([], 2)
    assert store.by_status("prod", FAILED) == ["deploy_prod_1"]
    assert store.get("deploy_prod_new").sequence == 5000
    with pytest.raises(NotFoundError):
        store.get("deploy_prod_0")


def test_record_that_was_edited_in_place_is_found_by_the_check(state: Path) -> None:
    before = path_of(state, 2).stat()
    path_of(state, 2).write_bytes(failed(state, 2))
    os.utime(path_of(state, 2), ns=(before.st_atime_ns, before.st_mtime_ns))
    store, _, read = opened(state)
    assert read == 0
    assert store.check() == []
    assert store.by_status("prod", FAILED) == ["deploy_prod_2"]
    store.remember()
    store, _, read = opened(state)
    assert (read, store.by_status("prod", FAILED)) == (0, ["deploy_prod_2"])


def test_record_that_was_damaged_in_place_is_set_aside_by_the_check(state: Path) -> None:
    path_of(state, 3).write_bytes(b"damaged")
    path_of(state, 4).write_bytes(b'{"schema_version": 9}')
    store, aside, _ = opened(state)
    assert aside == []
    corrupt, newer = sorted(store.check(), key=lambda each: each.path)
    assert corrupt.moved_to is not None
    assert corrupt.moved_to.read_bytes() == b"damaged"
    assert "version 9" in newer.why
    with pytest.raises(NotFoundError):
        store.get("deploy_prod_3")
    with pytest.raises(RecordError, match="version 9"):
        store.get("deploy_prod_4")


def test_check_ends_when_the_daemon_does(state: Path) -> None:
    path_of(state, 3).write_bytes(b"damaged")
    store, _, _ = opened(state)
    assert store.check(lambda: True) == []
    assert path_of(state, 3).exists()


def test_what_was_saved_before_the_check_stands(state: Path) -> None:
    store, _, _ = opened(state)
    store.save(deployment("deploy_prod_2", sequence=3, status=FAILED))
    assert store.check() == []
    assert store.by_status("prod", FAILED) == ["deploy_prod_2"]


def test_what_is_saved_is_remembered_at_the_end(state: Path) -> None:
    store, _, _ = opened(state)
    store.save(deployment("deploy_prod_2", sequence=3, status=FAILED))
    store.remember()
    store, _, read = opened(state)
    assert (read, store.by_status("prod", FAILED)) == (0, ["deploy_prod_2"])
    assert store.check() == []


@pytest.mark.parametrize("damage", ["empty", "cut", "bit", "other", "directory"])
def test_index_that_is_damaged_costs_reading_and_nothing_else(state: Path, damage: str) -> None:
    index = state / "config_deployments" / "prod.index"
    whole = index.read_bytes()
    index.unlink()
    match damage:
        case "empty":
            index.touch()
        case "cut":
            index.write_bytes(whole[:-100])
        case "bit":
            index.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
        case "other":
            index.write_bytes(json.dumps({"schema_version": 2}).encode())
        case _:
            index.mkdir()
    store, aside, read = opened(state)
    assert (aside, read) == ([], COUNT)
    assert len(store.by_status("prod", DeploymentStatus.SUCCESS)) == COUNT
    store.remember()
    assert opened(state)[2] == (COUNT if damage == "directory" else 0)


def test_brief_page_has_counts_and_no_lists(state: Path) -> None:
    store, _, _ = opened(state)
    change = FileChange("app.conf", None, Entry(Kind.FILE, 0o644, bytes(32), 5))
    changes = Changes(added=(change,), added_count=1, unchanged_count=7)
    store.save(replace(deployment("deploy_prod_many", sequence=9000), changes=changes))
    ((whole,), _) = store.page("prod", limit=1, before=None, statuses=frozenset())
    ((brief,), _) = store.page("prod", limit=1, before=None, statuses=frozenset(), brief=True)
    assert whole.changes == changes
    assert brief == replace(whole, changes=emptied(changes))


def test_record_read_lately_is_read_again_when_it_has_changed(state: Path) -> None:
    store, _, _ = opened(state)
    assert store.recent("deploy_prod_2") is None
    assert store.get("deploy_prod_2") is store.recent("deploy_prod_2")
    path_of(state, 2).write_bytes(failed(state, 2))
    assert store.recent("deploy_prod_2") is None
    assert store.get("deploy_prod_2").status is FAILED
