"""Damage is named by whoever reads it and by `verify`, and harms nothing but what it lies on."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
from tests.unit.effects.past import ask, commit, deploy, digest, entry, put, whole

from headgated.core.errors import HistoryDamagedError, RecordError
from headgated.core.tree import EMPTY, build
from headgated.effects.history import History

SMALL, LARGE = b"small content", os.urandom(2 * 1024 * 1024 + 5)


@pytest.fixture
def path(swift: Path) -> Path:
    """A history with two deployments, closed."""
    path = swift / "history.db"
    history = History(path)
    deploy(history, "deploy_prod_1", {b"a": SMALL, b"d/b": LARGE})
    deploy(history, "deploy_prod_2", {b"a": b"fine", b"d/c": b"as well"}, sequence=2)
    assert history.verify() == []
    history.close()
    return path


def named(lines: list[str], text: str) -> bool:
    return any(text in line for line in lines)


@pytest.mark.parametrize(
    ("content", "statement"),
    [
        (SMALL, "UPDATE contents SET content = x'00' WHERE digest = ?"),
        (SMALL, "UPDATE contents SET content = NULL WHERE digest = ?"),
        (SMALL, "DELETE FROM contents WHERE digest = ?"),
        (LARGE, "UPDATE chunks SET chunk = zeroblob(1048576) WHERE n = 1 AND ? IS NOT NULL"),
        (LARGE, "DELETE FROM chunks WHERE n = 2 AND ? IS NOT NULL"),
    ],
)
def test_damaged_content_is_named_and_can_be_put_anew(path: Path, content: bytes, statement: str) -> None:
    ask(path, statement, digest(content))
    history = History(path)
    with pytest.raises(HistoryDamagedError) as caught:
        whole(history, content)
    assert digest(content).hex() in caught.value.message
    assert named(history.verify(), digest(content).hex())
    assert whole(history, b"fine") == b"fine"
    assert not history.has(digest(content))
    put(history, content)
    assert whole(history, content) == content
    assert history.verify() == []
    history.close()
    again = History(path)
    assert again.verify() == []
    again.close()


def test_content_that_verify_found_damaged_is_put_anew_too(path: Path) -> None:
    ask(path, "UPDATE contents SET content = x'00' WHERE digest = ?", digest(SMALL))
    history = History(path)
    assert history.has(digest(SMALL))
    assert len(history.verify()) == 1
    assert not history.has(digest(SMALL))
    history.close()


def test_damaged_tree_is_named(path: Path) -> None:
    node = build({b"d/b": entry(LARGE), b"d/c": entry(b"as well")}).children[b"d"]
    ask(path, "UPDATE contents SET content = x'01' WHERE digest = ?", node.digest)
    history = History(path)
    for read in (lambda: history.head("prod"), lambda: history.managed("deploy_prod_2")):
        with pytest.raises(HistoryDamagedError, match=node.digest.hex()):
            read()
    lines = history.verify()
    assert named(lines, "of prod: ")
    assert named(lines, node.digest.hex())
    assert not named(lines, "deploy_prod_1")
    assert history.managed("deploy_prod_1")[0] == EMPTY
    history.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE changes SET encoded = x'00' WHERE deployment = 'deploy_prod_1'",
        "UPDATE changes SET digest = x'00' WHERE deployment = 'deploy_prod_1'",
        "DELETE FROM changes WHERE deployment = 'deploy_prod_1'",
    ],
)
def test_damaged_changes_are_named(path: Path, statement: str) -> None:
    ask(path, statement)
    history = History(path)
    with pytest.raises(HistoryDamagedError, match="deploy_prod_1"):
        history.changes("deploy_prod_1")
    (line,) = history.verify()
    assert "deploy_prod_1" in line
    assert history.changes("deploy_prod_2")
    history.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE intents SET record = x'00'",
        "DELETE FROM intents",
        "UPDATE changes SET encoded = x'00' WHERE deployment = 'deploy_test_1'",
        "UPDATE deployments SET managed_after = x'00' WHERE id = 'deploy_test_1'",
    ],
)
def test_damaged_intent_harms_no_other_and_leaves_its_temporaries(path: Path, statement: str) -> None:
    history = History(path)
    commit(history, "deploy_test_1", EMPTY, {b"a": b"x"}, environment="test")
    history.close()
    ask(path, statement)
    history = History(path)
    healthy = commit(history, "deploy_other_1", EMPTY, {b"a": b"y"}, environment="other")
    found = {unfinished.deployment_id: unfinished for unfinished in history.unfinished()}
    assert found["deploy_other_1"].intent == healthy
    broken = found["deploy_test_1"]
    assert (broken.intent, broken.directories) == (None, ())
    assert broken.damage
    history.close()


def test_nothing_is_collected_while_something_kept_is_damaged(path: Path) -> None:
    node = build({b"d/b": entry(LARGE), b"d/c": entry(b"as well")}).children[b"d"]
    ask(path, "DELETE FROM contents WHERE digest = ?", node.digest)
    history = History(path)
    with pytest.raises(HistoryDamagedError):
        history.collect(frozenset())
    assert history.changes("deploy_prod_1")
    assert whole(history, SMALL) == SMALL
    history.close()


def smash(path: Path, pages: set[int]) -> None:
    """Overwrite whole pages of a closed file."""
    with open(path, "r+b") as file:
        for page in range(path.stat().st_size // 4096):
            if page in pages:
                file.seek(page * 4096)
                file.write(b"\xa5" * 4096)


@pytest.mark.parametrize("nth", range(3))
def test_smashed_pages_are_named_and_never_read_as_good(path: Path, nth: int) -> None:
    smash(path, set(range(1, 10_000)[nth::3]))
    try:
        history = History(path)
    except (RecordError, HistoryDamagedError):
        return
    lines = history.verify()
    assert lines
    for content in (SMALL, LARGE, b"fine", b"as well"):
        with suppress(HistoryDamagedError):
            assert whole(history, content) == content
    history.close()


def test_every_single_smashed_page_is_named(swift: Path) -> None:
    """One page after the other of a history that is small enough to try them all."""
    small = swift / "small.db"
    history = History(small)
    deploy(history, "deploy_prod_1", {b"a": SMALL, b"d/b": b"x" * 9000})
    deploy(history, "deploy_prod_2", {b"a": b"fine"}, sequence=2)
    history.close()
    whole_file = small.read_bytes()
    unused = empty_pages(whole_file)
    for page in range(1, len(whole_file) // 4096):
        small.write_bytes(whole_file)
        smash(small, {page})
        try:
            history = History(small)
        except (RecordError, HistoryDamagedError):
            continue
        assert history.verify() or page in unused, f"page {page} is damaged and nothing is said"
        history.close()


def empty_pages(content: bytes) -> set[int]:
    """Pages that hold nothing: damage to them is none."""
    return {
        page
        for page in range(len(content) // 4096)
        if not content[page * 4096 : page * 4096 + 4096].strip(b"\0")
    }
