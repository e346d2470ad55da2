"""A large directory is held and named in parts, and nobody who reads it can tell, but by what a change of it costs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pytest
from hypothesis import given, settings, strategies as st

from headgated.core.divided import WAYS, WHOLE, Divided
from headgated.core.tree import (
    EMPTY,
    Directory,
    Entry,
    Kind,
    Node,
    changed_names,
    decode_all,
    diff,
    edit,
    lookup,
    parts_with,
    succeeding,
    walk,
)

FILE = Entry(Kind.FILE, 0o644, hashlib.sha256(b"one").digest(), 3)
OTHER = Entry(Kind.FILE, 0o644, hashlib.sha256(b"two").digest(), 3, template=True)
BELOW = Directory(Entry(Kind.DIRECTORY, 0o755), {b"below": FILE, b"more": OTHER})
OURS = Entry(Kind.DIRECTORY, 0o750, uid=7)
LARGE = 5 * WAYS * WHOLE
"""Children of a directory with parts that are divided again."""

SIZES = st.sampled_from([0, 1, 7, 10, WHOLE - 2, WHOLE, WHOLE + 1, 2 * WHOLE, WAYS * WHOLE + WHOLE])
NODES = st.sampled_from([FILE, OTHER, BELOW, Entry(Kind.SYMLINK, target=b"x"), None])
CHANGES = st.dictionaries(st.integers(0, 2 * WHOLE).map(b"%d".__mod__), NODES, max_size=40)
SOME = settings(max_examples=40, deadline=None)


def many(size: int) -> dict[bytes, Node]:
    return {b"%d" % n: BELOW if n % 50 == 1 else FILE for n in range(size)}


def changed(children: Mapping[bytes, Node], changes: Mapping[bytes, Node | None]) -> dict[bytes, Node]:
    """What a directory holds after changes, in the plainest way."""
    return {name: node for name, node in {**children, **changes}.items() if node is not None}


def all_parts(directory: Directory) -> list[Directory]:
    found = [directory]
    for each in found:
        if isinstance(each.children, Divided):
            found += each.below
    return found


@pytest.mark.parametrize("size", [WHOLE, WHOLE + 1, 1000, LARGE])
def test_children_can_be_asked_as_any_others(size: int) -> None:
    plain = many(size)
    children = Directory(OURS, plain).children
    assert isinstance(children, Divided) == (size > WHOLE)
    assert len(children) == size
    assert children == plain
    assert sorted(children) == sorted(plain)
    assert sorted(children.keys()) == sorted(plain)
    assert dict(children.items()) == plain
    assert sorted(map(id, children.values())) == sorted(map(id, plain.values()))
    assert all(children[name] is children.get(name) is node for name, node in plain.items())
    assert b"1" in children
    assert b"none" not in children
    assert 1 not in children  # type: ignore[comparison-overlap]
    assert (children.get(b"none"), children.get(b"none", FILE)) == (None, FILE)
    with pytest.raises(KeyError, match="none"):
        _ = children[b"none"]
    assert children.keys() >= {b"0", b"1"}


@pytest.mark.parametrize("size", [WHOLE + 1, 1000, LARGE])
def test_no_part_is_large_or_empty(size: int) -> None:
    first, *parts = all_parts(Directory(OURS, many(size)))
    assert first.entry == OURS
    for part in parts:
        assert part.entry == EMPTY.entry
        assert part.children
        assert isinstance(part.children, Divided) == (len(part.children) > WHOLE)


@SOME
@given(SIZES, CHANGES, CHANGES)
def test_digest_says_what_is_there_and_not_how_it_came_to_be(
    size: int, one: dict[bytes, Node | None], two: dict[bytes, Node | None]
) -> None:
    first = Directory(OURS, many(size))
    assert first.digest
    second = succeeding(first, OURS, one)
    assert second.digest == Directory(OURS, changed(many(size), one)).digest
    third = succeeding(second, OURS, two)
    anew = Directory(OURS, dict(reversed(changed(changed(many(size), one), two).items())))
    assert third == anew
    assert third.digest == anew.digest
    assert third.files == anew.files
    assert (third.digest == first.digest) == (third == first)
    back = succeeding(third, OURS, {**dict.fromkeys(third.children), **first.children})
    assert back.digest == first.digest


@SOME
@given(SIZES, CHANGES)
def test_changed_names_are_those_that_are_not_the_same(size: int, changes: dict[bytes, Node | None]) -> None:
    old = Directory(OURS, many(size))
    new = succeeding(old, OURS, changes)
    before, after = dict(old.children), dict(new.children)
    names = sorted(name for name in {*before, *after} if before.get(name) is not after.get(name))
    anew = Directory(OURS, after)
    assert sorted(changed_names(old, new)) == sorted(changed_names(new, old)) == names
    assert sorted(changed_names(old, anew)) == names
    assert [path for path, _, _ in diff(old, new) if b"/" not in path] == names


@SOME
@given(SIZES, CHANGES)
def test_edit_works_on_a_large_directory(size: int, changes: dict[bytes, Node | None]) -> None:
    tree = edit(EMPTY, {b"wide": Directory(OURS, many(size))})
    wide = lookup(edit(tree, {b"wide/" + name: node for name, node in changes.items()}), b"wide")
    assert wide == Directory(OURS, changed(many(size), changes))


def test_every_difference_makes_another_digest() -> None:
    children = many(3 * WHOLE)
    digests = {Directory(OURS, children).digest, Directory(EMPTY.entry, children).digest}
    digests |= {Directory(OURS, changed(children, {name: OTHER})).digest for name in children}
    digests |= {Directory(OURS, changed(children, {name: None})).digest for name in children}
    digests |= {Directory(OURS, changed(children, {b"new%d" % n: FILE})).digest for n in range(100)}
    assert len(digests) == 2 + 2 * len(children) + 100


def test_walk_goes_by_name() -> None:
    names = [name for name, _ in walk(Directory(OURS, many(1000))) if b"/" not in name]
    assert names == sorted(many(1000))


def test_canonical_form_names_the_parts() -> None:
    for directory in all_parts(Directory(OURS, many(LARGE))):
        (name, entry, _), *lines = decode_all(directory.encoded)
        assert (name, entry) == (b"", directory.entry)
        if isinstance(directory.children, Divided):
            prefix, parts = directory.children.prefix, directory.children.parts
            assert lines == [(prefix + bytes((at,)), None, parts[at].digest) for at in sorted(parts)]
        else:
            assert [name for name, _, _ in lines] == sorted(directory.children)


def test_digest_of_what_is_not_large_is_what_it_always_was() -> None:
    """Histories that exist are full of them."""
    directory = Directory(OURS, {**many(WHOLE - 1), b"\xff": Entry(Kind.SYMLINK, target=b"to", gid=1)})
    assert directory.digest.hex() == "647410505f9ddf5afdc7a5aae945edd00973af6815321e7d8ca184fe59e6524c"


def test_digest_of_a_large_directory_stays_what_it_is() -> None:
    assert (
        Directory(OURS, many(LARGE)).digest.hex()
        == "985c5b1c25abf919d37910f51f74741868c1fb23bd92f756eb1f3909ace2c294"
    )


@pytest.mark.parametrize("size", [1000, LARGE])
def test_one_change_costs_its_part_and_not_the_directory(size: int) -> None:
    old = Directory(OURS, many(size))
    assert old.digest
    new = succeeding(old, OURS, {b"7": OTHER})
    there = set(map(id, all_parts(old)))
    fresh = [part for part in all_parts(new) if id(part) not in there]
    assert fresh == list(parts_with(new, [b"7"]))
    assert 2 <= len(fresh) <= 4
    assert sum(len(part.encoded) for part in fresh) < 16_000
    assert changed_names(old, new) == [b"7"]


def test_names_that_are_not_there_belong_to_a_part_all_the_same() -> None:
    wide = Directory(OURS, many(1000))
    found = [part for part in parts_with(wide, [b"none", b"7"]) if part is not wide]
    assert 1 <= len(found) <= 2
    assert any(b"7" in part.children for part in found)
