"""What history stores, and how a deployment moves through it."""

from __future__ import annotations

import _sqlite3
import ctypes
import gc
import hashlib
import os
import sqlite3
import stat
import tempfile
import threading
import tracemalloc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from tests.unit.core.test_tree import ENTRIES, PATHS, TREES
from tests.unit.effects.past import TOKEN, ask, commit, deploy, digest, entry, intent, put, whole

from headgated.core.errors import (
    AlreadyExistsError,
    HistoryDamagedError,
    NotFoundError,
    RecordError,
    SourceMovedError,
    UnavailableError,
)
from headgated.core.plan import Change
from headgated.core.tree import EMPTY, Directory, Entry, Kind, build, lookup
from headgated.effects.history import History
from headgated.effects.history.encoding import decode_changes

MEBIBYTE = 1024 * 1024


def reopened(history: History, path: Path) -> History:
    history.close()
    return History(path)


# The file


def test_file_and_log_are_nobody_elses_to_read_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        history = History(path)
        put(history, b"secret")
    finally:
        os.umask(before)
    modes = {name: stat.S_IMODE(os.stat(f"{path}{name}").st_mode) for name in ("", "-wal", "-shm")}
    assert modes == {"": 0o600, "-wal": 0o600, "-shm": 0o600}
    history.close()


def test_file_that_others_may_read_is_closed_to_them(path: Path) -> None:
    History(path).close()
    path.chmod(0o644)
    History(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_file_is_made_to_give_back_room(history: History, path: Path) -> None:
    assert ask(path, "PRAGMA auto_vacuum") == [(2,)]  # incremental
    assert ask(path, "PRAGMA journal_mode") == [("wal",)]


def test_file_of_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    History(path).close()
    ask(path, "PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(RecordError, match="99") as caught:
        History(path)
    assert caught.value.reason == "RECORD_NEWER"
    assert caught.value.hint
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"no database at all", b"\0" * 4096, b"SQLite format 3\0" + b"x" * 5000])
def test_file_that_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(RecordError) as caught:
        History(path)
    assert str(path) in caught.value.message
    assert path.read_bytes() == content


def test_file_of_another_program_is_refused(path: Path) -> None:
    ask(path, "CREATE TABLE theirs (x)")
    with pytest.raises(RecordError, match="another program"):
        History(path)


def test_file_where_none_can_be_made_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError) as caught:
        History(tmp_path / "missing" / "history.db")
    assert caught.value.reason == "STATE_NOT_WRITABLE"


# Contents


@pytest.mark.parametrize(
    "size", [0, 1, 4096, MEBIBYTE - 1, MEBIBYTE, MEBIBYTE + 1, 3 * MEBIBYTE, 3 * MEBIBYTE + 17]
)
def test_content_comes_back_as_it_went_in(history: History, path: Path, size: int) -> None:
    content = os.urandom(size)
    assert not history.has(digest(content))
    history.put(digest(content), size, (content[at : at + 100_000] for at in range(0, size, 100_000)))
    assert history.has(digest(content))
    assert whole(history, content) == content
    again = reopened(history, path)
    assert again.has(digest(content))
    assert whole(again, content) == content
    assert all(len(chunk) <= MEBIBYTE for chunk in again.read(digest(content)))
    again.close()


@pytest.mark.parametrize("size", [100, 2 * MEBIBYTE])
def test_content_that_is_not_what_it_was_said_to_be_is_refused(
    history: History, path: Path, size: int
) -> None:
    said, read = b"a" * size, b"b" * size
    for chunks, length in (((read,), size), ((said, b"x"), size), ((said[:-1],), size), ((said,), size + 1)):
        with pytest.raises(SourceMovedError):
            history.put(digest(said), length, chunks)
        assert not history.has(digest(said))
        assert not history.has(digest(read))
    put(history, said)
    assert whole(history, said) == said
    assert ask(path, "SELECT count(DISTINCT series) FROM chunks") == [(1 if size > MEBIBYTE else 0,)]


def test_content_whose_reader_fails_leaves_nothing(history: History, path: Path) -> None:
    content = os.urandom(3 * MEBIBYTE)

    def reader() -> Iterator[bytes]:
        yield content[: 2 * MEBIBYTE + 5]
        raise OSError(5, "gone")

    with pytest.raises(OSError, match="gone"):
        history.put(digest(content), len(content), reader())
    assert not history.has(digest(content))
    assert ask(path, "SELECT count(*) FROM chunks") == [(0,)]


def test_content_begun_before_a_kill_is_removed_at_the_next_start(history: History, path: Path) -> None:
    history.close()
    ask(path, "INSERT INTO chunks VALUES (7, 0, x'00')")
    History(path).close()
    assert ask(path, "SELECT count(*) FROM chunks") == [(0,)]


def test_content_is_stored_once(history: History, path: Path) -> None:
    small, large = b"small", os.urandom(2 * MEBIBYTE)
    for content in (small, large, small, large):
        put(history, content)
    history.close()
    assert ask(path, "SELECT count(*) FROM contents") == [(2,)]
    assert ask(path, "SELECT count(*) FROM chunks") == [(2,)]


def test_content_that_is_missing_is_named(history: History) -> None:
    with pytest.raises(HistoryDamagedError, match=digest(b"never").hex()):
        history.read(digest(b"never"))


def test_large_content_is_never_in_memory_whole(history: History) -> None:
    block = os.urandom(MEBIBYTE)
    count = 24

    def blocks() -> Iterator[bytes]:
        return (block for _ in range(count))

    hasher = hashlib.sha256()
    for one in blocks():
        hasher.update(one)
    tracemalloc.start()
    history.put(hasher.digest(), count * MEBIBYTE, blocks())
    for _ in history.read(hasher.digest()):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 6 * MEBIBYTE


def test_many_contents_from_many_threads_are_all_there(history: History) -> None:
    contents = [f"{n}".encode() * 500 for n in range(2000)]
    large = os.urandom(2 * MEBIBYTE + 1)

    def work(offset: int) -> None:
        for content in (*contents[offset::2], *contents[:200]):
            put(history, content)
        put(history, large)

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for content in (*contents, large):
        assert whole(history, content) == content
    assert history.verify() == []


# Trees


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TREES, TREES)
def test_tree_comes_back_as_it_went_in(history: History, one: Directory, other: Directory) -> None:
    history.put_tree(one)
    history.put_tree(other)
    for tree in (one, other):
        assert history.tree(tree.digest) == tree
        assert history.tree(tree.digest).digest == tree.digest


@settings(max_examples=10, deadline=None)
@given(TREES, TREES)
def test_tree_survives_closing(one: Directory, other: Directory) -> None:
    with tempfile.TemporaryDirectory() as directory:
        history = History(Path(directory) / "history.db")
        history.put_tree(one)
        history.put_tree(other)
        again = reopened(history, Path(directory) / "history.db")
        assert [again.tree(one.digest), again.tree(other.digest)] == [one, other]
        assert again.tree(one.digest).encoded == one.encoded
        again.close()


def test_equal_parts_of_trees_are_stored_once(history: History, path: Path) -> None:
    def tree(changed: bytes) -> Directory:
        return build({b"d%d/f" % n: entry(b"same") for n in range(50)} | {b"x/y/z": entry(changed)})

    history.put_tree(tree(b"one"))
    history.put_tree(tree(b"two"))
    history.close()
    nodes = 1 + 2 + 1  # the root, x and x/y, and one directory for fifty
    assert ask(path, "SELECT count(*) FROM contents") == [(nodes + 3,)]


def test_equal_parts_of_trees_are_one_in_memory(history: History, path: Path) -> None:
    one = build({b"same/f": entry(b"1"), b"x": entry(b"1")})
    two = build({b"same/f": entry(b"1"), b"x": entry(b"2")})
    history.put_tree(one)
    history.put_tree(two)
    digests = one.digest, two.digest
    del one, two
    again = reopened(history, path)
    trees = [again.tree(each) for each in digests]
    assert trees[0].children[b"same"] is trees[1].children[b"same"]
    again.close()


def test_tree_that_is_missing_is_named(history: History) -> None:
    with pytest.raises(HistoryDamagedError, match=build({b"a": entry(b"a")}).digest.hex()):
        history.tree(build({b"a": entry(b"a")}).digest)


def test_tree_that_is_no_directory_is_named(history: History) -> None:
    for content in (b"no tree", b""):
        put(history, content)
        with pytest.raises(HistoryDamagedError, match="no directory"):
            history.tree(digest(content))


def test_tree_as_deep_as_a_path_can_be_long_needs_no_deeper_stack(history: History, path: Path) -> None:
    deep = build({b"/".join([b"d"] * 2047): entry(b"x")})
    history.put_tree(deep)
    root = deep.digest
    again = reopened(history, path)
    assert again.tree(root).digest == root
    assert again.verify() == []
    again.close()


# Deployments


def test_deployment_that_is_applied_moves_the_head(history: History, path: Path) -> None:
    assert history.head("prod") is None
    managed = deploy(history, "deploy_prod_1", {b"a": b"one", b"d/b": b"two"}, sequence=3)
    again = reopened(history, path)
    head = again.head("prod")
    assert head is not None
    assert (head.managed, head.sequence, head.deployment_id) == (managed, 3, "deploy_prod_1")
    assert again.head("prod") is head
    assert again.managed("deploy_prod_1") == (EMPTY, managed)
    assert again.unfinished() == []
    assert again.applied_ids("prod", 0) == [(3, "deploy_prod_1")]
    again.close()


def test_trees_of_a_deployment_share_what_is_the_same_in_one_that_others_made(
    history: History, path: Path
) -> None:
    before = deploy(history, "deploy_prod_1", {b"a": b"one", b"d/b": b"two", b"e/f": b"three"})
    deploy(history, "deploy_prod_2", {b"d/b": b"new"}, sequence=2)
    again = reopened(history, path)
    like = build({b"a": entry(b"other"), b"e/f": entry(b"three")})  # held by nobody's reading of history
    found, after = again.managed("deploy_prod_2", like)
    assert found == before
    assert found.children[b"e"] is after.children[b"e"] is like.children[b"e"]
    again.close()


def test_deployment_that_committed_is_unfinished_until_it_is_applied(history: History, path: Path) -> None:
    before = deploy(history, "deploy_prod_1", {b"a": b"one", b"d/b": b"two"})
    committed = commit(history, "deploy_prod_2", before, {b"a": b"new", b"d/b": None}, sequence=2)
    again = reopened(history, path)
    (unfinished,) = again.unfinished()
    assert unfinished.intent == committed
    assert (unfinished.environment, unfinished.token, unfinished.target) == ("prod", TOKEN, "/target")
    assert (unfinished.directories, unfinished.damage) == ((b"",), "")
    head = again.head("prod")
    assert head is not None
    assert head.sequence == 1
    again.applied("deploy_prod_2")
    again.applied("deploy_prod_2")  # recovery may be cut off and say so again
    assert again.unfinished() == []
    head = again.head("prod")
    assert head is not None
    assert head.managed == committed.managed_after
    assert whole(again, b"two") == b"two"
    again.close()


def test_deployment_that_only_began_is_unfinished_without_intent(history: History, path: Path) -> None:
    history.begin("prod", "deploy_prod_1", TOKEN, "/target", [b"", b"d\xff/e"])
    again = reopened(history, path)
    (unfinished,) = again.unfinished()
    assert unfinished.intent is None
    assert unfinished.damage == ""
    assert (unfinished.deployment_id, unfinished.token) == ("deploy_prod_1", TOKEN)
    assert unfinished.directories == (b"", b"d\xff/e")
    again.abandoned("deploy_prod_1")
    assert again.unfinished() == []
    with pytest.raises(NotFoundError):
        again.changes("deploy_prod_1")
    again.close()


def test_deployment_that_is_undone_leaves_the_head(history: History) -> None:
    managed = deploy(history, "deploy_prod_1", {b"a": b"one"})
    committed = commit(history, "deploy_prod_2", managed, {b"a": b"two"}, sequence=2)
    history.abandoned("deploy_prod_2")
    history.abandoned("deploy_prod_2")
    head = history.head("prod")
    assert head is not None
    assert head.deployment_id == "deploy_prod_1"
    assert history.unfinished() == []
    assert history.applied_ids("prod", 0) == [(1, "deploy_prod_1")]
    assert history.changes("deploy_prod_2") == committed.changes
    with pytest.raises(NotFoundError):
        history.applied("deploy_prod_2")


def test_deployment_may_be_tried_again_after_it_was_undone(history: History) -> None:
    many = {b"f%d" % n: b"one" for n in range(5000)}
    commit(history, "deploy_prod_1", EMPTY, many)
    history.abandoned("deploy_prod_1")
    second = commit(history, "deploy_prod_1", EMPTY, {b"a": b"two"})
    assert history.changes("deploy_prod_1") == second.changes
    history.applied("deploy_prod_1")
    assert history.verify() == []


def test_deployment_commits_once(history: History) -> None:
    many = {b"f%d" % n: b"one" for n in range(5000)}
    first = commit(history, "deploy_prod_1", EMPTY, many)
    for _ in range(2):
        with pytest.raises(AlreadyExistsError):
            history.commit(first)
        assert history.changes("deploy_prod_1") == first.changes
        history.applied("deploy_prod_1")


def test_deployment_whose_contents_were_not_put_does_not_commit(history: History) -> None:
    history.begin("prod", "deploy_prod_1", TOKEN, "/target", [b""])
    with pytest.raises(HistoryDamagedError) as caught:
        history.commit(intent("deploy_prod_1", EMPTY, {b"etc/app\n.conf": b"never put"}))
    assert caught.value.reason == "CONTENT_MISSING"
    assert caught.value.paths == (r"etc/app\x0a.conf",)
    (unfinished,) = history.unfinished()
    assert unfinished.intent is None


def test_deployment_needs_no_content_where_only_attributes_change(history: History) -> None:
    managed = build({b"a": entry(b"never put", 0o600)})
    before, after = managed.children[b"a"], entry(b"never put", 0o644)
    assert isinstance(before, Entry)
    change = Change(b"a", before, after)
    history.commit(replace(intent("deploy_prod_1", managed, {}), changes=(change,)))
    assert history.changes("deploy_prod_1") == (change,)


CHANGES = st.lists(st.builds(Change, PATHS, st.none() | ENTRIES, st.none() | ENTRIES), max_size=5).map(tuple)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CHANGES, TREES, TREES, st.binary(max_size=50))
def test_intent_comes_back_as_it_went_in(
    history: History, changes: tuple[Change, ...], before: Directory, after: Directory, record: bytes
) -> None:
    for content in (b"", b"one", b"two"):
        put(history, content)
    target = os.fsdecode(b"/target/\xff\xc3\xa9")
    committed = replace(
        intent("deploy_prod_1", before, {}),
        sequence=2**40,
        target=target,
        managed_after=after,
        changes=changes,
        record=record,
    )
    history.begin("prod", "deploy_prod_1", TOKEN, target, [])
    history.commit(committed)
    (unfinished,) = history.unfinished()
    assert unfinished.intent == committed
    assert unfinished.target == target
    history.abandoned("deploy_prod_1")


def test_environments_do_not_know_of_each_other(history: History) -> None:
    deploy(history, "deploy_prod_1", {b"a": b"one"})
    deploy(history, "deploy_test_1", {b"a": b"two"}, environment="test")
    assert history.applied_ids("test", 0) == [(1, "deploy_test_1")]
    history.forget("test")
    assert history.head("test") is None
    assert history.head("prod") is not None


def test_environment_that_is_forgotten_has_nothing_to_recover(history: History, path: Path) -> None:
    managed = deploy(history, "deploy_prod_1", {b"a": b"one"})
    commit(history, "deploy_prod_2", managed, {b"a": b"two"}, sequence=2)
    history.begin("prod", "deploy_prod_3", TOKEN, "/target", [])
    history.forget("prod")
    again = reopened(history, path)
    assert again.unfinished() == []
    assert again.head("prod") is None
    assert again.changes("deploy_prod_1")
    again.close()


def test_what_is_adopted_is_the_head(history: History, path: Path) -> None:
    managed = deploy(history, "deploy_prod_1", {b"a": b"one"})
    more = build({b"a": entry(b"one"), b"theirs": entry(b"found")})
    history.adopt("prod", more, 2)
    again = reopened(history, path)
    head = again.head("prod")
    assert head is not None
    assert (head.managed, head.sequence, head.deployment_id) == (more, 2, "deploy_prod_1")
    again.adopt("prod", managed, 3, "deploy_prod_3")
    assert again.changes("deploy_prod_3") == ()
    assert again.managed("deploy_prod_3") == (more, managed)
    assert again.applied_ids("prod", 2) == [(3, "deploy_prod_3")]
    assert again.verify() == []
    again.close()


def test_applied_ids_are_ordered_by_sequence(history: History) -> None:
    for sequence in (2, 10, 9):
        deploy(history, f"deploy_prod_{sequence}", {b"a": b"%d" % sequence}, sequence=sequence)
    assert history.applied_ids("prod", 3) == [(9, "deploy_prod_9"), (10, "deploy_prod_10")]


def test_head_costs_what_changed(history: History, path: Path) -> None:
    """The tree of a head is shared with the one before it."""
    deploy(history, "deploy_prod_1", {b"d%d/f" % n: b"%d" % n for n in range(20)})
    again = reopened(history, path)
    first = again.head("prod")
    assert first is not None
    deploy(again, "deploy_prod_2", {b"d3/f": b"new"}, sequence=2)
    second = again.head("prod")
    assert second is not None
    assert second.managed.children[b"d4"] is first.managed.children[b"d4"]
    assert lookup(second.managed, b"d3/f") == entry(b"new")
    again.close()


# Requests


def test_request_gets_its_first_answer(history: History, path: Path) -> None:
    assert history.recall_request("id-1") is None
    history.remember_request("id-1", "deploy", "f", '{"a": "é"}')
    history.remember_request("id-1", "deploy", "g", "{}")
    again = reopened(history, path)
    assert again.recall_request("id-1") == ("deploy", "f", '{"a": "é"}')
    again.close()


def test_requests_beyond_ten_thousand_are_dropped(history: History, path: Path) -> None:
    history.close()
    ask(
        path,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)"
        " INSERT INTO requests (id, kind, fingerprint, answer) SELECT 'id-' || i, 'k', 'f', 'a' FROM n",
    )
    again = History(path)
    again.remember_request("new", "k", "f", "a")
    assert again.recall_request("id-1") is None
    assert again.recall_request("id-2") is not None
    assert again.recall_request("new") is not None
    again.close()


def test_closed_history_says_so(path: Path) -> None:
    history = History(path)
    history.close()
    with pytest.raises(sqlite3.ProgrammingError):
        history.has(digest(b""))


def test_symlinks_and_directories_need_no_content(history: History) -> None:
    link = Entry(Kind.SYMLINK, target=b"a")
    changes = (Change(b"d", None, Entry(Kind.DIRECTORY, 0o755)), Change(b"l", link, None))
    history.commit(replace(intent("deploy_prod_1", EMPTY, {}), changes=changes))
    assert history.changes("deploy_prod_1") == changes


def test_changes_written_before_there_were_seals_can_be_read() -> None:
    file = (1, 0o644, b"d" * 32, 3, b"", None, 7, False)
    (change,) = decode_changes(msgspec.msgpack.encode([(b"a", None, file)]))
    assert change == Change(b"a", None, Entry(Kind.FILE, 0o644, b"d" * 32, 3, gid=7))


def test_tree_that_was_left_a_moment_ago_is_in_memory_still(history: History) -> None:
    first = deploy(history, "one", {b"d/a": b"one", b"e": b"two"})
    deploy(history, "two", {b"d/a": b"three"}, sequence=2)
    held = weakref.ref(first)
    del first
    gc.collect()
    assert held() is not None
    assert history.managed("two")[0] is held()


def test_what_is_stored_of_many_is_held(history: History) -> None:
    """Whether it is in the file, or on its way there."""
    stored = [put(history, b"%d" % number) for number in range(1200)]
    deploy(history, "d1", {b"f": b"0"})
    waiting = put(history, b"new")
    asked = [*stored, waiting, digest(b"never"), stored[0]]
    assert history.hold(iter(asked)) == {*stored, waiting}
    assert history.hold([]) == set()


def test_what_is_held_outlasts_a_collection(history: History) -> None:
    for number, content in enumerate([b"kept", b"not kept", b"between", b"now"]):
        deploy(history, f"d{number}", {b"f": content})
    history.begin("prod", "next", TOKEN, "/target", [])
    assert history.hold([digest(b"kept")]) == {digest(b"kept")}
    history.collect(frozenset({"d3"}))
    assert whole(history, b"kept") == b"kept"
    assert not history.holds(digest(b"not kept"))


def sqlites_memory() -> int:
    """Return the bytes of memory that SQLite has, for all that is open."""
    ask = ctypes.CDLL(_sqlite3.__file__).sqlite3_memory_used
    ask.restype = ctypes.c_int64
    return int(ask())


def test_pages_in_memory_are_let_go_of_when_told(history: History) -> None:
    for number in range(1000):
        put(history, b"%d" % number * 1000)
    before = sqlites_memory()
    history.free_memory()
    assert before - sqlites_memory() > MEBIBYTE
    assert whole(history, b"7" * 1000) == b"7" * 1000


def test_what_a_statement_was_given_is_let_go_of_when_told(history: History) -> None:
    history.free_memory()
    before = sqlites_memory()
    history.commit(replace(intent("1", EMPTY, {}), record=bytes(4 * MEBIBYTE)))
    history.applied("1")
    history.free_memory()
    assert sqlites_memory() - before < MEBIBYTE
