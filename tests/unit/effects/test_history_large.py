"""Large directories in history, where they are kept in parts; and what an earlier version kept in one piece."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from tests.unit.effects.past import ask, deploy, digest, entry, intent, put, whole

from headgated.core.errors import HeadgateError, HistoryDamagedError
from headgated.core.tree import EMPTY, Directory, build, decode_all, walk
from headgated.effects.history import History

NAMES = [b"f%03d" % n for n in range(300)]
SCHEMA_1 = Path(__file__).with_name("history-1.db.gz")
"""Written by the last version that had that schema: two deployments of `FIRST` and `SECOND`, and one to `test` that is under way."""
FIRST: dict[bytes, bytes | None] = {
    **{b"wide/" + name: b"%d" % n for n, name in enumerate(NAMES[:150])},
    b"wide/below/file": b"below",
    b"narrow/file": b"narrow",
}
SECOND: dict[bytes, bytes | None] = {b"wide/f007": b"changed", b"wide/f008": None, b"new": b"new"}
FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def old(path: Path) -> Path:
    """A history of schema 1."""
    path.write_bytes(gzip.decompress(SCHEMA_1.read_bytes()))
    assert ask(path, "PRAGMA user_version") == [(1,)]
    return path


def wide(contents: bytes = b"", size: int = 300) -> dict[bytes, bytes | None]:
    return {b"wide/" + name: contents + name for name in NAMES[:size]}


def tree_of(*wanted: dict[bytes, bytes | None]) -> Directory:
    """The tree after these deployments, made anew."""
    contents = {path: content for each in wanted for path, content in each.items()}
    return build({path: entry(content) for path, content in contents.items() if content is not None})


def nodes_of(*trees: Directory) -> dict[bytes, Directory]:
    """Every directory and part of these trees, by digest."""
    found = list(trees)
    for each in found:
        found += each.below
    return {each.digest: each for each in found}


def nodes_in(path: Path) -> set[object]:
    """The digests of all that is stored and no file."""
    rows = ask(path, "SELECT digest FROM contents WHERE substr(content, 1, 5) = x'02ffffffff'")
    return {digest for (digest,) in rows}


@FEW
@given(
    st.sampled_from([0, 127, 128, 129, 300]),
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from([b"x", b"y", None]), max_size=20),
)
def test_what_is_put_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, size: int, changes: dict[bytes, bytes | None]
) -> None:
    path = tmp_path_factory.mktemp("history") / "history.db"
    later = {b"wide/" + name: content for name, content in changes.items()}
    history = History(path)
    first = deploy(history, "deploy_prod_1", wide(size=size))
    second = deploy(history, "deploy_prod_2", later, sequence=2)
    history.close()
    history = History(path)
    for tree in (first, second):
        read = history.tree(tree.digest)
        assert read == tree
        assert read.digest == build(dict(walk(tree))).digest
    assert history.managed("deploy_prod_2", like=second) == (first, second)
    assert history.verify() == []
    history.close()


def test_one_change_brings_a_part_and_not_the_directory(history: History, path: Path) -> None:
    first = deploy(history, "deploy_prod_1", wide())
    known = nodes_in(path)
    second = deploy(history, "deploy_prod_2", {b"wide/f007": b"changed"}, sequence=2)
    assert known == nodes_of(EMPTY, first).keys()
    brought = nodes_in(path) - known
    assert brought == nodes_of(second).keys() - known
    assert len(brought) == 3  # the part, the directory, the root
    assert (
        sum(len(nodes_of(second)[digest].encoded) for digest in brought if isinstance(digest, bytes)) < 5000
    )


def test_part_that_is_needed_stays_and_one_that_is_not_goes(history: History, path: Path) -> None:
    trees = [
        deploy(history, f"deploy_prod_{n}", {**wide(), b"wide/f%03d" % n: b"changed %d" % n}, sequence=n)
        for n in range(1, 6)
    ]
    assert nodes_in(path) == nodes_of(EMPTY, *trees).keys()
    history.collect(frozenset({"deploy_prod_4"}))
    assert (
        nodes_in(path) == nodes_of(*trees[2:]).keys()
    )  # the fourth replaced the third; the fifth is the head
    assert history.verify() == []
    history.close()
    history = History(path)
    assert history.managed("deploy_prod_4") == (trees[2], trees[3])
    history.collect(frozenset())
    assert nodes_in(path) == nodes_of(*trees[3:]).keys()
    assert history.managed("deploy_prod_5") == (trees[3], trees[4])
    history.close()


def test_what_parts_weigh_is_weighed(history: History) -> None:
    first = deploy(history, "deploy_prod_1", wide())
    base, _ = history.weigh([])
    assert base == sum(len(node.encoded) for node in nodes_of(first).values()) + 4 * 300
    second = deploy(history, "deploy_prod_2", {b"wide/f007": b"seven"}, sequence=2)
    _, each = history.weigh(["deploy_prod_2"])
    brought = nodes_of(first).keys() - nodes_of(second).keys()
    assert each["deploy_prod_2"] > sum(len(nodes_of(first)[digest].encoded) for digest in brought)


@pytest.mark.parametrize(
    "statement", ["UPDATE contents SET content = x'01' WHERE", "DELETE FROM contents WHERE"]
)
def test_damaged_part_is_named(history: History, path: Path, statement: str) -> None:
    tree = deploy(history, "deploy_prod_1", wide())
    deploy(history, "deploy_test_1", {b"a": b"a"}, environment="test")
    part = next(iter(tree.children[b"wide"].below))  # type: ignore[union-attr]
    history.close()
    ask(path, f"{statement} digest = ?", part.digest)
    history = History(path)
    for read in (lambda: history.head("prod"), lambda: history.managed("deploy_prod_1")):
        with pytest.raises(HistoryDamagedError, match=part.digest.hex()):
            read()
    assert any("of prod: " in line and part.digest.hex() in line for line in history.verify())
    assert not any("of test: " in line for line in history.verify())
    assert history.head("test") is not None
    with pytest.raises(HistoryDamagedError):
        history.collect(frozenset())
    history.close()


def test_part_that_is_no_part_is_damage(history: History) -> None:
    wide_one = tree_of(wide()).children[b"wide"]
    assert isinstance(wide_one, Directory)
    mixed = wide_one.encoded + build({b"a": entry(b"a")}).encoded[len(EMPTY.encoded) :]
    assert len(list(decode_all(mixed))) > 2
    put(history, mixed)
    with pytest.raises(HistoryDamagedError, match="no directory"):
        history.tree(digest(mixed))


def test_history_of_schema_1_is_taken_over(old: Path) -> None:
    history = History(old)
    head = history.head("prod")
    assert head is not None
    assert (head.sequence, head.deployment_id) == (2, "deploy_prod_2")
    assert head.managed == tree_of(FIRST, SECOND)
    assert head.managed.digest == tree_of(FIRST, SECOND).digest
    before, after = history.managed("deploy_prod_2")
    assert (before, after) == (tree_of(FIRST), tree_of(FIRST, SECOND))
    assert history.managed("deploy_prod_1")[1].digest == before.digest == tree_of(FIRST).digest
    assert history.recall_request("11111111-2222-3333-4444-555555555555") == ("deploy", "f", "answer")
    (unfinished,) = history.unfinished()
    expected = intent("deploy_test_1", EMPTY, {b"a": b"x"}, environment="test")
    assert unfinished.intent == expected
    history.applied("deploy_test_1")
    assert history.unfinished() == []
    assert history.verify() == []
    history.close()
    assert ask(old, "PRAGMA user_version") == [(2,)]
    assert ask(old, "SELECT count(*) FROM intents") == [(0,)]
    History(old).close()


def test_what_schema_1_kept_can_be_undone_and_built_upon(old: Path) -> None:
    history = History(old)
    third = deploy(history, "deploy_prod_3", {b"wide/f009": b"nine"}, sequence=3)
    assert third == tree_of(FIRST, SECOND, {b"wide/f009": b"nine"})
    known = nodes_in(old)
    deploy(history, "deploy_prod_4", {b"wide/f010": b"ten"}, sequence=4)
    assert len(nodes_in(old) - known) == 3
    for back in (4, 3, 2):
        changes = history.changes(f"deploy_prod_{back}")
        now = history.head("prod")
        assert now is not None
        contents = {
            change.path: b"".join(history.read(change.expected.digest)) if change.expected else None
            for change in changes
        }
        deploy(history, f"deploy_prod_{10 - back}", contents, sequence=10 - back)
    head = history.head("prod")
    assert head is not None
    assert head.managed == tree_of(FIRST)
    assert whole(history, b"7") == b"7"
    assert history.verify() == []
    history.close()


def test_what_schema_1_kept_is_collected(old: Path) -> None:
    history = History(old)
    deploy(history, "deploy_prod_3", {b"wide/f009": b"nine"}, sequence=3)
    there = nodes_in(old)
    keep = frozenset({"deploy_prod_1", "deploy_prod_2"})
    assert history.collect(keep).contents == 0
    assert nodes_in(old) == there
    history.collect(frozenset())
    before = tree_of(FIRST, SECOND)
    after = tree_of(FIRST, SECOND, {b"wide/f009": b"nine"})
    of_test = build({b"a": entry(b"x")})
    assert nodes_in(old) == nodes_of(EMPTY, before, after, of_test).keys()
    assert history.managed("deploy_prod_3") == (before, after)
    assert history.verify() == []
    history.close()


def test_schema_that_cannot_be_taken_over_stays_as_it_is(old: Path) -> None:
    ask(old, "CREATE TABLE old_intents (in_the_way)")
    with pytest.raises(HeadgateError):
        History(old)
    assert ask(old, "PRAGMA user_version") == [(1,)]
    assert ask(old, "SELECT count(*) FROM intents") == [(1,)]
    ask(old, "DROP TABLE old_intents")
    history = History(old)
    assert len(history.unfinished()) == 1
    history.close()
