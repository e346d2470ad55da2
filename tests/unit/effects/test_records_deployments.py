"""Deployments on disk, and finding them (D1, D13, A6)."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from tests.unit.effects.recorded import AT, deployment

from headgated.core.deployment import ConfigDeployment, DeploymentKind, DeploymentStatus
from headgated.core.errors import NotFoundError, RecordError
from headgated.effects.records import Cursor, DeploymentStore, SetAside, encode_deployment

NEWER = b'{"schema_version": 9, "sequence": 40, "what": "ever"}'
ANY: frozenset[DeploymentStatus] = frozenset()


def opened(state: Path) -> tuple[DeploymentStore, list[SetAside]]:
    store = DeploymentStore(state)
    return store, store.open()


def filled(state: Path, *environments: str, count: int = 7) -> DeploymentStore:
    """For each environment so many records, a second apart, the environments in turn."""
    store, _ = opened(state)
    for n in range(1, count + 1):
        for place, name in enumerate(environments):
            at = AT + timedelta(seconds=n * 10 + place)
            store.save(deployment(f"deploy_{name}_{n}", name, n, deployed_at=at))
    return store


def path_of(state: Path, deployment_id: str, environment: str = "prod") -> Path:
    return state / "config_deployments" / environment / f"{deployment_id}.json"


def ids(records: list[ConfigDeployment]) -> list[str]:
    return [record.deployment_id for record in records]


def paged(
    store: DeploymentStore, environment: str | None, limit: int, statuses: frozenset[DeploymentStatus] = ANY
) -> list[str]:
    found: list[str] = []
    cursor: Cursor | None = None
    while True:
        records, cursor = store.page(environment, limit=limit, before=cursor, statuses=statuses)
        assert len(records) <= limit
        found += ids(records)
        if cursor is None:
            return found
        cursor = tuple(json.loads(json.dumps(cursor)))  # as a token has it


# Writing and reading


def test_record_is_created_once_and_saved_again(tmp_path: Path) -> None:
    store, _ = opened(tmp_path)
    record = deployment(status=DeploymentStatus.PENDING)
    store.create(record)
    with pytest.raises(FileExistsError):
        store.create(record)
    store.save(deployment())
    assert store.get("deploy_prod_1") == deployment()
    assert opened(tmp_path)[0].get("deploy_prod_1") == deployment()
    assert path_of(tmp_path, "deploy_prod_1").read_bytes() == encode_deployment(deployment())


def test_record_that_was_just_written_is_not_read_and_one_that_changed_is(tmp_path: Path) -> None:
    store, _ = opened(tmp_path)
    record = deployment("deploy_prod_1", "prod", 1)
    store.create(record)
    path = path_of(tmp_path, "deploy_prod_1")
    assert store.recent("deploy_prod_1") == record == opened(tmp_path)[0].get("deploy_prod_1")
    path.write_bytes(encode_deployment(replace(record, reason="by hand")))
    assert store.recent("deploy_prod_1") is None
    assert store.get("deploy_prod_1").reason == "by hand"


def test_last_passes_over_what_was_damaged_meanwhile(tmp_path: Path) -> None:
    store = filled(tmp_path, "prod", count=3)
    path_of(tmp_path, "deploy_prod_3").write_bytes(b"{")
    last = store.last("prod")
    assert last is not None
    assert last.deployment_id == "deploy_prod_2"
    assert store.last("none") is None


def test_records_are_nobody_elses_to_read(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        filled(tmp_path, "prod", count=1)
    finally:
        os.umask(before)
    path = path_of(tmp_path, "deploy_prod_1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "name", ["deploy_prod_9", "", "../../etc/passwd", "deploy_prod_1\0", "deploy_prod_1.json"]
)
def test_record_that_is_not_there_is_not_found(tmp_path: Path, name: str) -> None:
    store = filled(tmp_path, "prod", count=1)
    with pytest.raises(NotFoundError) as caught:
        store.get(name)
    assert caught.value.reason == "DEPLOYMENT_NOT_FOUND"
    assert caught.value.hint


# Ids and sequences


def test_ids_are_made_of_kind_environment_and_second(tmp_path: Path) -> None:
    store, _ = opened(tmp_path)
    made = [store.reserve("prod", kind, AT) for kind in DeploymentKind]
    second = int(AT.timestamp())
    assert made == [(f"{kind.value}_prod_{second}", n) for n, kind in enumerate(DeploymentKind, start=1)]
    assert made[0] == (f"deploy_prod_{second}", 1)


def test_id_that_is_taken_gets_a_number(tmp_path: Path) -> None:
    """Given out, on disk, set aside as damaged, of a newer schema, put there by somebody: none is given out again."""
    second = f"deploy_prod_{int(AT.timestamp())}"
    store, _ = opened(tmp_path)
    store.save(deployment(second, sequence=1))
    store.save(deployment(f"{second}_2", sequence=2))
    path_of(tmp_path, f"{second}_2").write_bytes(b"damaged")
    path_of(tmp_path, f"{second}_3").write_bytes(NEWER)
    store, _ = opened(tmp_path)
    path_of(tmp_path, f"{second}_4").write_bytes(b"somebody's")
    assert store.reserve("prod", DeploymentKind.DEPLOY, AT)[0] == f"{second}_5"
    assert store.reserve("prod", DeploymentKind.DEPLOY, AT)[0] == f"{second}_6"
    again, _ = opened(tmp_path)
    assert again.reserve("prod", DeploymentKind.DEPLOY, AT)[0] == f"{second}_5"


def test_sequences_grow_by_one_in_each_environment_over_restarts(tmp_path: Path) -> None:
    store = filled(tmp_path, "prod", "test", count=3)
    assert store.reserve("prod", DeploymentKind.DEPLOY, AT)[1] == 4
    assert store.reserve("prod", DeploymentKind.DEPLOY, AT)[1] == 5
    again, _ = opened(tmp_path)
    assert again.reserve("test", DeploymentKind.DEPLOY, AT)[1] == 4
    assert again.reserve("new", DeploymentKind.DEPLOY, AT)[1] == 1
    again.pass_over("new", 10)
    again.pass_over("new", 5)
    assert again.reserve("new", DeploymentKind.DEPLOY, AT)[1] == 11


def test_sequence_of_a_damaged_record_is_not_given_out_again(tmp_path: Path) -> None:
    filled(tmp_path, "prod", "test", "dev", count=3)
    whole = path_of(tmp_path, "deploy_prod_3").read_bytes()
    path_of(tmp_path, "deploy_prod_3").write_bytes(whole[: len(whole) // 2])
    path_of(tmp_path, "deploy_test_3", "test").write_bytes(b"")
    path_of(tmp_path, "deploy_dev_4", "dev").write_bytes(NEWER)
    for _ in range(2):
        store, _ = opened(tmp_path)
        assert store.reserve("prod", DeploymentKind.DEPLOY, AT)[1] == 4
        assert store.reserve("test", DeploymentKind.DEPLOY, AT)[1] == 4
        assert store.reserve("dev", DeploymentKind.DEPLOY, AT)[1] == 41


def test_reserving_from_many_threads_gives_each_its_own(tmp_path: Path) -> None:
    store, _ = opened(tmp_path)
    made: list[tuple[str, int]] = []

    def work() -> None:
        for _ in range(50):
            deployment_id, sequence = store.reserve("prod", DeploymentKind.DEPLOY, AT)
            store.create(deployment(deployment_id, sequence=sequence))
            made.append((deployment_id, sequence))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({deployment_id for deployment_id, _ in made}) == 200
    assert sorted(sequence for _, sequence in made) == list(range(1, 201))
    assert paged(store, "prod", 1000) == paged(opened(tmp_path)[0], "prod", 1000)


# Lists


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
def test_pages_are_newest_first_and_leave_nothing_out(tmp_path: Path, limit: int) -> None:
    store = filled(tmp_path, "prod", "test")
    for each in (store, opened(tmp_path)[0]):
        assert paged(each, "prod", limit) == [f"deploy_prod_{n}" for n in range(7, 0, -1)]
        assert paged(each, None, limit) == [
            f"deploy_{name}_{n}" for n in range(7, 0, -1) for name in ("test", "prod")
        ]
        assert paged(each, "missing", limit) == []


def test_pages_of_an_environment_go_by_sequence_whatever_the_clock_said(tmp_path: Path) -> None:
    store, _ = opened(tmp_path)
    for n, minutes in enumerate((0, 5, -10, 3, -60), start=1):
        store.save(deployment(f"deploy_prod_{n}", sequence=n, deployed_at=AT + timedelta(minutes=minutes)))
    assert paged(store, "prod", 2) == [f"deploy_prod_{n}" for n in (5, 4, 3, 2, 1)]
    assert paged(store, None, 2) == [f"deploy_prod_{n}" for n in (2, 4, 1, 3, 5)]


def test_page_goes_on_where_it_was_although_more_came(tmp_path: Path) -> None:
    store = filled(tmp_path, "prod")
    first, cursor = store.page("prod", limit=3, before=None, statuses=ANY)
    store.save(deployment("deploy_prod_8", sequence=8, deployed_at=AT + timedelta(days=1)))
    second, _ = store.page("prod", limit=3, before=cursor, statuses=ANY)
    assert ids(first + second) == [f"deploy_prod_{n}" for n in (7, 6, 5, 4, 3, 2)]


def test_page_of_some_statuses(tmp_path: Path) -> None:
    store = filled(tmp_path, "prod")
    for n in (2, 3, 6):
        store.save(replace(store.get(f"deploy_prod_{n}"), status=DeploymentStatus.FAILED))
    failed = frozenset({DeploymentStatus.FAILED})
    for each in (store, opened(tmp_path)[0]):
        assert paged(each, "prod", 2, failed) == ["deploy_prod_6", "deploy_prod_3", "deploy_prod_2"]
        assert paged(each, None, 1, failed) == ["deploy_prod_6", "deploy_prod_3", "deploy_prod_2"]
        assert each.by_status("prod", DeploymentStatus.FAILED) == [
            "deploy_prod_2",
            "deploy_prod_3",
            "deploy_prod_6",
        ]


def test_page_reads_its_own_files_only(tmp_path: Path) -> None:
    store = filled(tmp_path, "prod")
    for n in range(1, 5):
        path_of(tmp_path, f"deploy_prod_{n}").write_bytes(b"nobody looks here")
    assert ids(store.page("prod", limit=3, before=None, statuses=ANY)[0]) == [
        f"deploy_prod_{n}" for n in (7, 6, 5)
    ]
    assert path_of(tmp_path, "deploy_prod_4").exists()


def test_last_is_the_one_with_the_highest_sequence(tmp_path: Path) -> None:
    store = filled(tmp_path, "prod", count=3)
    for each in (store, opened(tmp_path)[0]):
        last = each.last("prod")
        assert last is not None
        assert last.deployment_id == "deploy_prod_3"
        assert each.last("test") is None


def test_unfinished_are_those_that_say_so(tmp_path: Path) -> None:
    store = filled(tmp_path, "prod", "test", count=3)
    store.save(replace(store.get("deploy_prod_3"), status=DeploymentStatus.PENDING))
    store.save(replace(store.get("deploy_test_2"), status=DeploymentStatus.IN_PROGRESS))
    for each in (store, opened(tmp_path)[0]):
        assert sorted(ids(each.unfinished())) == ["deploy_prod_3", "deploy_test_2"]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 30), st.booleans()), max_size=25),
    st.integers(1, 6),
    st.sampled_from([None, "a", "b"]),
)
def test_pages_are_the_list_cut_into_pieces(
    tmp_path_factory: pytest.TempPathFactory,
    made: list[tuple[str, int, bool]],
    limit: int,
    environment: str | None,
) -> None:
    store, _ = opened(tmp_path_factory.mktemp("s"))
    records = []
    for name, seconds, good in made:
        at = AT + timedelta(seconds=seconds)
        deployment_id, sequence = store.reserve(name, DeploymentKind.DEPLOY, at)
        status = DeploymentStatus.SUCCESS if good else DeploymentStatus.FAILED
        records.append(deployment(deployment_id, name, sequence, status, at))
    # Without the disk: the index is what is tried here.
    for record in records:
        store._note(record)
    wanted = [
        record
        for record in records
        if environment in (None, record.environment) and record.status == "success"
    ]
    key = (
        (lambda r: (r.deployed_at, r.sequence, r.deployment_id))
        if environment is None
        else (lambda r: r.sequence)
    )
    wanted.sort(key=key, reverse=True)
    found: list[str] = []
    cursor: Cursor | None = None
    while True:
        lines, cursor = store._find(environment, limit, cursor, frozenset({DeploymentStatus.SUCCESS}))
        found += [line.deployment_id for line in lines]
        if cursor is None:
            break
    assert found == ids(wanted)


# What cannot be read


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\0" * 2000, b'{"schema_version": 1, "sequence": 2}'])
def test_damaged_record_is_set_aside_with_every_byte(tmp_path: Path, content: bytes) -> None:
    filled(tmp_path, "prod", count=3)
    path = path_of(tmp_path, "deploy_prod_2")
    path.write_bytes(content)
    store, (aside,) = opened(tmp_path)
    assert (aside.path, aside.moved_to) == (path, path.with_name(f"{path.name}.corrupt-1"))
    assert aside.moved_to is not None
    assert aside.moved_to.read_bytes() == content
    assert paged(store, "prod", 2) == ["deploy_prod_3", "deploy_prod_1"]
    with pytest.raises(NotFoundError):
        store.get("deploy_prod_2")
    assert opened(tmp_path)[1] == []


def test_record_of_a_newer_schema_is_there_and_unusable(tmp_path: Path) -> None:
    filled(tmp_path, "prod", count=3)
    path = path_of(tmp_path, "deploy_prod_2")
    path.write_bytes(NEWER)
    store, (aside,) = opened(tmp_path)
    assert (aside.path, aside.moved_to) == (path, None)
    assert "version 9" in aside.why
    assert paged(store, "prod", 2) == ["deploy_prod_3", "deploy_prod_1"]
    for use in (lambda: store.get("deploy_prod_2"), lambda: store.save(deployment("deploy_prod_2"))):
        with pytest.raises(RecordError, match="version 9"):
            use()
    assert path.read_bytes() == NEWER


def test_record_that_is_damaged_while_the_daemon_runs_harms_no_page(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = filled(tmp_path, "prod", count=5)
    for n in (2, 3, 4, 5):
        path_of(tmp_path, f"deploy_prod_{n}").write_bytes(b"damaged")
    path_of(tmp_path, "deploy_prod_4").write_bytes(NEWER)
    path_of(tmp_path, "deploy_prod_3").unlink()
    with pytest.raises(RecordError) as caught:
        store.get("deploy_prod_2")
    assert caught.value.reason == "RECORD_UNREADABLE"
    assert "deploy_prod_2" in caught.value.message
    last = store.last("prod")
    assert last is not None
    assert last.deployment_id == "deploy_prod_1"
    assert paged(store, "prod", 2) == ["deploy_prod_1"]
    assert path_of(tmp_path, "deploy_prod_5").with_name("deploy_prod_5.json.corrupt-1").exists()
    assert path_of(tmp_path, "deploy_prod_4").read_bytes() == NEWER
    assert "deploy_prod_5" in caplog.text


def test_record_in_the_wrong_place_is_told_and_left_alone(tmp_path: Path) -> None:
    filled(tmp_path, "prod", "test", count=2)
    path_of(tmp_path, "deploy_prod_2").rename(path_of(tmp_path, "deploy_prod_9"))
    path_of(tmp_path, "deploy_test_2", "test").rename(path_of(tmp_path, "deploy_test_2"))
    store, aside = opened(tmp_path)
    assert sorted((each.path.name, each.moved_to) for each in aside) == [
        ("deploy_prod_9.json", None),
        ("deploy_test_2.json", None),
    ]
    assert paged(store, None, 10) == ["deploy_test_1", "deploy_prod_1"]


def test_what_is_no_record_stops_nothing(tmp_path: Path) -> None:
    filled(tmp_path, "prod", count=2)
    directory = tmp_path / "config_deployments"
    os.mkfifo(directory / "prod" / "fifo.json")
    (directory / "prod" / "folder.json").mkdir()
    (directory / "prod" / "link.json").symlink_to("deploy_prod_1.json")
    (directory / "prod" / ".headgate-0123456789ab.tmp").touch()
    (directory / "prod" / "README").touch()
    (directory / "file").touch()
    (directory / "Not a name").mkdir()
    (directory / "elsewhere").symlink_to(tmp_path)
    store, aside = opened(tmp_path)
    assert sorted(each.path.name for each in aside) == ["fifo.json", "folder.json", "link.json"]
    assert paged(store, None, 10) == ["deploy_prod_2", "deploy_prod_1"]
    assert not (directory / "prod" / ".headgate-0123456789ab.tmp").exists()


def test_name_that_is_not_text_stops_nothing(tmp_path: Path) -> None:
    filled(tmp_path, "prod", count=1)
    odd = os.path.join(os.fsencode(tmp_path), b"config_deployments/prod/\xff.json")
    with open(odd, "wb") as file:
        file.write(b"?")
    store, (aside,) = opened(tmp_path)
    assert aside.moved_to is not None
    assert paged(store, "prod", 10) == ["deploy_prod_1"]


def test_opening_many_records_takes_no_longer_than_they_are_many(tmp_path: Path, swift: Path) -> None:
    """A hundred thousand open in some two seconds; here is a hundredth of them, with room for a slow machine."""
    directory = swift / "config_deployments" / "prod"
    directory.mkdir(parents=True)
    for n in range(1000):
        (directory / f"deploy_prod_{n}.json").write_bytes(
            encode_deployment(deployment(f"deploy_prod_{n}", sequence=n))
        )
    began = time.monotonic()
    store, aside = opened(swift)
    assert time.monotonic() - began < 1
    assert aside == []
    assert len(store.by_status("prod", DeploymentStatus.SUCCESS)) == 1000
