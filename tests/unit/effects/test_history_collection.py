"""What nobody refers to goes, what anybody needs stays, and the file becomes smaller."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from tests.unit.effects.past import TOKEN, ask, commit, deploy, digest, entry, intent, put, whole

from headgated.core.errors import NotFoundError
from headgated.core.tree import EMPTY, Directory, build
from headgated.effects.history import History


def stored(history: History, *contents: bytes) -> list[bool]:
    return [history.has(digest(content)) for content in contents]


def test_deployments_that_are_not_kept_go_with_what_only_they_need(history: History) -> None:
    for n in range(1, 5):
        deploy(history, f"deploy_prod_{n}", {b"a": b"%d" % n, b"d%d/x" % n: b"x%d" % n}, sequence=n)
    collected = history.collect(frozenset({"deploy_prod_3"}))
    assert collected.deployments == 2
    for gone in ("deploy_prod_1", "deploy_prod_2"):
        for read in (history.changes, history.managed):
            with pytest.raises(NotFoundError) as caught:
                read(gone)
            assert caught.value.reason == "HISTORY_COLLECTED"
    assert history.applied_ids("prod", 0) == [(3, "deploy_prod_3"), (4, "deploy_prod_4")]
    assert stored(history, b"1", b"2", b"3", b"4") == [False, True, True, True]  # the third replaced 2
    assert stored(history, b"x1", b"x2") == [True, True]  # at the target still
    assert history.managed("deploy_prod_4")[1].files == 5
    assert history.verify() == []


def test_heads_are_kept_always(history: History, path: Path) -> None:
    managed = deploy(history, "deploy_prod_1", {b"a": b"one", b"b/c": b"two"})
    assert history.collect(frozenset()).deployments == 0
    history.close()
    again = History(path)
    head = again.head("prod")
    assert head is not None
    assert head.managed == managed
    assert again.changes("deploy_prod_1")
    assert [whole(again, content) for content in (b"one", b"two")] == [b"one", b"two"]
    again.close()


def test_unfinished_deployments_are_kept(history: History) -> None:
    managed = deploy(history, "deploy_prod_1", {b"a": b"one"})
    committed = commit(history, "deploy_prod_2", managed, {b"a": b"two"}, sequence=2)
    for _ in range(3):
        history.collect(frozenset())
    (unfinished,) = history.unfinished()
    assert unfinished.intent == committed
    assert stored(history, b"one", b"two") == [True, True]


def test_undone_deployments_go(history: History) -> None:
    commit(history, "deploy_prod_1", EMPTY, {b"a": b"one"})
    history.abandoned("deploy_prod_1")
    assert history.collect(frozenset()).deployments == 1
    assert stored(history, b"one") == [False]


def test_environment_that_is_forgotten_is_collected(history: History) -> None:
    deploy(history, "deploy_prod_1", {b"a": b"one"})
    history.forget("prod")
    assert history.collect(frozenset({"deploy_prod_1"})).deployments == 0
    assert history.collect(frozenset()).deployments == 1
    assert stored(history, b"one") == [False]


def test_file_becomes_smaller_by_what_is_told(history: History, path: Path) -> None:
    contents = {b"f%d" % n: os.urandom(3000) for n in range(1500)} | {b"large": os.urandom(3_000_000)}
    deploy(history, "deploy_prod_1", contents)
    deploy(history, "deploy_prod_2", dict.fromkeys(contents, None), sequence=2)
    history.forget("prod")
    history.collect(frozenset({"deploy_prod_1", "deploy_prod_2"}))
    before = path.stat().st_size
    collected = history.collect(frozenset())
    assert collected.contents > 1500
    assert before - path.stat().st_size == collected.bytes_returned
    assert path.stat().st_size < 200_000
    assert ask(path, "PRAGMA freelist_count") == [(0,)]
    assert ask(path, "SELECT count(*) FROM chunks") == [(0,)]


def test_collecting_nothing_returns_nothing(history: History) -> None:
    deploy(history, "deploy_prod_1", {b"a": b"one"})
    collected = history.collect(frozenset())
    assert (collected.deployments, collected.contents, collected.bytes_returned) == (0, 0, 0)


def test_content_put_for_a_deployment_that_has_not_committed_stays(history: History) -> None:
    """It was put, or found to be there, and a collection comes before the commit."""
    deploy(history, "deploy_prod_1", {b"a": b"old"})
    deploy(history, "deploy_prod_2", {b"a": b"new"}, sequence=2)
    assert history.has(digest(b"old"))
    put(history, b"newer")
    history.collect(frozenset())
    head = history.head("prod")
    assert head is not None
    history.commit(intent("deploy_prod_3", head.managed, {b"a": b"old", b"b": b"newer"}, sequence=3))
    assert [whole(history, content) for content in (b"old", b"newer")] == [b"old", b"newer"]
    assert history.verify() == []


def test_content_that_no_deployment_ever_needs_goes_at_last(history: History) -> None:
    put(history, b"stray")
    for _ in range(3):
        history.collect(frozenset())
    assert stored(history, b"stray") == [False]


def test_content_that_was_put_before_a_restart_goes_at_once(history: History, path: Path) -> None:
    put(history, b"stray")
    history.close()
    again = History(path)
    assert again.collect(frozenset()).contents == 1
    again.close()


def test_tree_that_was_collected_is_stored_again(history: History) -> None:
    """Somebody may hold a tree in memory whose nodes are gone from the file."""
    held = deploy(history, "deploy_prod_1", {b"d/e": b"one"})
    deploy(history, "deploy_prod_2", {b"d/e": None, b"x": b"two"}, sequence=2)
    history.collect(frozenset())
    history.collect(frozenset())
    history.put_tree(held)
    assert history.tree(held.digest) == held
    committed = commit(history, "deploy_prod_3", build({b"x": entry(b"two")}), {b"d/e": b"one"}, sequence=3)
    history.applied("deploy_prod_3")
    assert history.managed("deploy_prod_3")[1] == committed.managed_after
    assert history.verify() == []


def test_content_that_two_deployments_need_stays_for_the_second(history: History) -> None:
    """The first to commit, and then to be dropped, must not take away what the other one found to be there."""
    history.begin("test", "deploy_test_1", TOKEN, "/target", [])
    put(history, b"shared")
    deploy(history, "deploy_prod_1", {b"a": b"shared"})
    deploy(history, "deploy_prod_2", {b"a": None}, sequence=2)
    history.forget("prod")
    for _ in range(2):
        history.collect(frozenset())
    history.commit(intent("deploy_test_1", EMPTY, {b"a": b"shared"}, environment="test"))
    assert whole(history, b"shared") == b"shared"
    assert history.verify() == []


class StoppedError(Exception):
    pass


def stop_at(turn: int) -> Callable[[], None]:
    turns = count(1)

    def now_and_then() -> None:
        if next(turns) == turn:
            raise StoppedError

    return now_and_then


@pytest.mark.parametrize("restart", [True, False])
@pytest.mark.parametrize("turn", [1, 2])
def test_collection_that_is_cut_off_breaks_nothing(path: Path, turn: int, restart: bool) -> None:  # noqa: FBT001
    """Parts of what was to go are missing then. What is deployed anew must be whole all the same."""
    history = History(path)
    part = {b"d/%d/f" % n: b"%d" % n for n in range(400)}
    deploy(history, "deploy_prod_1", {b"x/" + at: content for at, content in part.items()})
    deploy(history, "deploy_prod_2", {b"x/" + at: None for at in part} | {b"y/d/399/f": b"399"}, sequence=2)
    history.forget("prod")
    history.collect(frozenset())
    for environment in ("first", "second"):  # the nodes of the smaller part are newer than those above them
        order = sorted(part.items(), reverse=environment == "second")
        deploy(history, f"deploy_{environment}_1", dict(order[:150]), environment=environment)
        deploy(history, f"deploy_{environment}_2", dict(part), environment=environment, sequence=2)
        history.forget(environment)
    history.collect(frozenset())
    with pytest.raises(StoppedError):
        history.collect(frozenset(), now_and_then=stop_at(turn))
    if restart:
        history.close()
        history = History(path)
    deploy(history, "deploy_third_1", dict(part), environment="third")
    assert history.verify() == []
    for _ in range(3):
        history.collect(frozenset())
    assert history.verify() == []
    deploy(history, "deploy_third_2", {b"d": None}, environment="third", sequence=2)
    history.close()
    assert ask(path, "SELECT count(*) FROM sweeps") == [(0,)]


def test_part_of_a_tree_that_was_removed_is_put_anew(path: Path) -> None:
    """What a kill in the middle of a sweep leaves: a node without what is below it, and a note."""
    history = History(path)
    managed = deploy(history, "deploy_prod_1", {b"d/e/f": b"one"})
    history.forget("prod")
    history.close()
    lost = managed.children[b"d"]
    assert isinstance(lost, Directory)
    below = lost.children[b"e"]
    assert isinstance(below, Directory)
    ask(path, "DELETE FROM contents WHERE digest = ?", below.digest)
    ask(path, "DELETE FROM deployments")
    ask(path, "INSERT INTO sweeps VALUES (1)")
    history = History(path)
    deploy(history, "deploy_prod_2", {b"d/e/f": b"one"}, sequence=2)
    assert history.verify() == []
    history.close()
    again = History(path)
    assert again.tree(managed.digest) == managed
    again.close()


@pytest.mark.slow
def test_deployments_go_on_while_others_are_collected(history: History) -> None:
    """Contents and trees come and go all the time; whatever is committed must be whole in the end."""
    done = threading.Event()
    trouble: list[BaseException] = []

    def collect() -> None:
        try:
            while not done.is_set():
                history.collect(frozenset())
        except BaseException as error:  # noqa: BLE001 - told to the test
            trouble.append(error)

    def work(environment: str) -> None:
        try:
            for n in range(1, 120):
                wanted: dict[bytes, bytes | None] = {
                    b"d%d/%d" % (at, at): b"content %d" % ((n * at) % 7) * 300 for at in range(6)
                }
                wanted[b"d%d/%d" % (n % 6, n % 6)] = None
                deploy(history, f"deploy_{environment}_{n}", wanted, environment=environment, sequence=n)
        except BaseException as error:  # noqa: BLE001
            trouble.append(error)

    workers = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    collector = threading.Thread(target=collect)
    for thread in (*workers, collector):
        thread.start()
    for thread in workers:
        thread.join()
    done.set()
    collector.join()
    assert trouble == []
    assert history.verify() == []
