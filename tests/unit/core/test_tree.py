from __future__ import annotations

import gc
import hashlib
import struct
import sys
import tracemalloc
from collections.abc import Mapping
from contextlib import suppress

import pytest
from hypothesis import given, settings, strategies as st

from headgated.core.paths import join
from headgated.core.tree import (
    EMPTY,
    Directory,
    Entry,
    Kind,
    build,
    changed_names,
    decode_all,
    diff,
    edit,
    encode,
    lookup,
    own,
    walk,
)

NAMES = st.sampled_from([b"a", b"b", b"c", b"a-", b"\xff", b"a\n"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(b"/".join)
OWNERS = st.sampled_from([None, 0, 1000, 2**32 - 2])
MODES = st.sampled_from([None, 0, 0o644, 0o7777])
DIGESTS = st.sampled_from([hashlib.sha256(text).digest() for text in (b"", b"one", b"two")])
FILES = st.builds(
    Entry,
    st.just(Kind.FILE),
    MODES,
    DIGESTS,
    st.sampled_from([0, 5, 2**40]),
    uid=OWNERS,
    template=st.booleans(),
    seal=st.just(b"") | st.binary(min_size=32, max_size=32),
)
LINKS = st.builds(Entry, st.just(Kind.SYMLINK), target=st.binary(min_size=1, max_size=5), gid=OWNERS)
DIRECTORIES = st.builds(Entry, st.just(Kind.DIRECTORY), MODES, uid=OWNERS, gid=OWNERS)
LEAVES = st.one_of(FILES, LINKS)
ENTRIES = st.one_of(FILES, LINKS, DIRECTORIES)
LOW = st.builds(Directory, DIRECTORIES, st.dictionaries(NAMES, LEAVES, max_size=3))
MIDDLE = st.builds(Directory, DIRECTORIES, st.dictionaries(NAMES, LEAVES | LOW, max_size=3))
TREES = st.builds(Directory, st.just(EMPTY.entry), st.dictionaries(NAMES, LEAVES | LOW | MIDDLE, max_size=3))

FEW = settings(max_examples=25, deadline=None)
MANY = settings(max_examples=100, deadline=None)

FILE = Entry(Kind.FILE, 0o644, hashlib.sha256(b"one").digest(), 3)
OTHER = Entry(Kind.FILE, 0o600, hashlib.sha256(b"two").digest(), 3)
DIRECTORY = Entry(Kind.DIRECTORY, 0o755)
MANY_DIRECTORIES = {b"%d/file" % number: FILE for number in range(1000)}
MOST_FOR_A_DIRECTORY = 700
"""Bytes for one with a file in it, all that is kept of it included; those of the file's entry are not counted."""


def plain(tree: Directory) -> dict[bytes, Entry]:
    return dict(walk(tree))


def depth(path: bytes) -> int:
    return path.count(b"/")


@MANY
@given(TREES, TREES)
def test_editing_by_a_diff_gives_the_other_tree(old: Directory, new: Directory) -> None:
    """Files become directories and the reverse, with all that is below them."""
    edited = edit(old, {path: after for path, _, after in diff(old, new)})
    assert plain(edited) == plain(new)
    assert edited.digest == new.digest


@MANY
@given(TREES, TREES)
def test_diff_names_exactly_the_paths_that_differ(old: Directory, new: Directory) -> None:
    before, after = plain(old), plain(new)
    found = list(diff(old, new))
    assert {path: (one, two) for path, one, two in found} == {
        path: (before.get(path), after.get(path))
        for path in before.keys() | after.keys()
        if before.get(path) != after.get(path)
    }
    assert [path for path, _, _ in found] == sorted(
        (path for path, _, _ in found), key=lambda path: path.split(b"/")
    )


@FEW
@given(TREES)
def test_diff_of_a_tree_with_itself_is_empty(tree: Directory) -> None:
    assert list(diff(tree, build(plain(tree)))) == []


def applied(tree: Directory, edits: Mapping[bytes, Entry | None]) -> dict[bytes, Entry]:
    """What `edit` promises, in the plainest way: one path after the other, what is above first."""
    entries = plain(tree)

    def clear(path: bytes) -> None:
        for known in [known for known in entries if known == path or known.startswith(path + b"/")]:
            del entries[known]

    for path in sorted(edits, key=depth):
        value = edits[path]
        was_directory = path in entries and entries[path].kind == Kind.DIRECTORY
        if value is None or value.kind != Kind.DIRECTORY or not was_directory:
            clear(path)
        if value is None:
            continue
        parts = path.split(b"/")
        for above in (b"/".join(parts[:length]) for length in range(1, len(parts))):
            if above not in entries or entries[above].kind != Kind.DIRECTORY:
                clear(above)
                entries[above] = EMPTY.entry
        entries[path] = value
    return entries


@MANY
@given(TREES, st.dictionaries(PATHS, st.none() | ENTRIES, max_size=6))
def test_edit_does_what_setting_one_path_after_the_other_does(
    tree: Directory, edits: dict[bytes, Entry | None]
) -> None:
    before = plain(tree)
    assert plain(edit(tree, edits)) == applied(tree, edits)
    assert plain(tree) == before


@FEW
@given(TREES, TREES, PATHS)
def test_edit_puts_a_whole_tree_in_place(tree: Directory, other: Directory, path: bytes) -> None:
    edited = edit(tree, {path: other})
    assert lookup(edited, path) is other


def test_edit_of_the_root_changes_its_attributes_only() -> None:
    tree = build({b"a": FILE})
    assert edit(tree, {b"": DIRECTORY}) == Directory(DIRECTORY, {b"a": FILE})


def test_edit_shares_what_it_does_not_touch() -> None:
    tree = build({b"a/b/c": FILE, b"d/e": FILE, b"a/x/y": FILE})
    edited = edit(tree, {b"a/b/c": OTHER})
    assert edited.children[b"d"] is tree.children[b"d"]
    assert lookup(edited, b"a/x") is lookup(tree, b"a/x")
    assert lookup(tree, b"a/b/c") == FILE


@FEW
@given(TREES)
def test_build_of_all_entries_gives_the_tree_again(tree: Directory) -> None:
    assert build(plain(tree)).digest == tree.digest


@FEW
@given(TREES, PATHS)
def test_lookup_finds_what_walk_yields(tree: Directory, path: bytes) -> None:
    node = lookup(tree, path)
    assert (None if node is None else own(node)) == plain(tree).get(path)


@FEW
@given(TREES)
def test_walk_yields_parents_before_children_by_name(tree: Directory) -> None:
    paths = [path for path, _ in walk(tree)]
    assert paths == sorted(paths, key=lambda path: path.split(b"/"))
    assert [path for path, _ in walk(tree, b"top")] == [join(b"top", path) for path in paths]


@FEW
@given(TREES, TREES)
def test_digests_are_equal_exactly_where_trees_are(one: Directory, two: Directory) -> None:
    assert (one.digest == two.digest) == (plain(one) == plain(two))


@FEW
@given(TREES)
def test_digest_does_not_depend_on_the_order_of_children(tree: Directory) -> None:
    assert Directory(tree.entry, dict(reversed(list(tree.children.items())))).digest == tree.digest


def test_digest_holds_the_name_that_a_shared_directory_has() -> None:
    shared = build({b"x": FILE})
    trees = [Directory(EMPTY.entry, {name: shared}) for name in (b"a", b"b", b"a")]
    assert trees[0].digest == trees[2].digest != trees[1].digest


@FEW
@given(TREES, DIRECTORIES)
def test_encoded_directory_can_be_decoded(tree: Directory, entry: Entry) -> None:
    directory = Directory(entry, tree.children)
    (name, decoded, _), *children = decode_all(directory.encoded)
    assert (name, decoded) == (b"", entry)
    assert [name for name, _, _ in children] == sorted(tree.children)
    for name, decoded, digest in children:
        child = tree.children[name]
        assert decoded == own(child)
        assert digest == (child.digest or bytes(32))


def test_encoded_directory_that_is_cut_is_never_taken_for_the_whole() -> None:
    encoded = build({b"name": FILE, b"second": Entry(Kind.SYMLINK, target=b"elsewhere")}).encoded
    for length in range(len(encoded)):
        with suppress(struct.error, ValueError):
            assert len(list(decode_all(encoded[:length]))) < 3


@FEW
@given(st.binary(max_size=200))
def test_decoding_anything_ends_with_an_error_it_names(junk: bytes) -> None:
    with suppress(struct.error, ValueError):
        list(decode_all(junk))


@FEW
@given(TREES)
def test_files_counts_files_and_links_at_all_depths(tree: Directory) -> None:
    assert tree.files == sum(entry.kind != Kind.DIRECTORY for entry in plain(tree).values())


@pytest.mark.parametrize(
    ("asked", "live", "same"),
    [
        (FILE, FILE, True),
        (FILE, None, False),
        (FILE, Entry(Kind.FILE, 0o644, FILE.digest, 3, uid=7, gid=8), True),
        (
            Entry(Kind.FILE, 0o644, FILE.digest, 3, uid=6),
            Entry(Kind.FILE, 0o644, FILE.digest, 3, uid=7),
            False,
        ),
        (FILE, Entry(Kind.FILE, 0o600, FILE.digest, 3), False),
        (FILE, Entry(Kind.FILE, 0o644, FILE.digest, 3, seal=b"s" * 32), True),
        (Entry(Kind.FILE, 0o644, FILE.digest, 3, seal=b"s" * 32), FILE, False),
        (
            Entry(Kind.FILE, 0o644, FILE.digest, 3, seal=b"s" * 32),
            Entry(Kind.FILE, 0o644, OTHER.digest, 9, seal=b"s" * 32),
            True,
        ),
        (
            Entry(Kind.FILE, 0o644, FILE.digest, 3, seal=b"s" * 32),
            Entry(Kind.FILE, 0o644, FILE.digest, 3, seal=b"t" * 32),
            False,
        ),
        (FILE, OTHER, False),
        (EMPTY.entry, DIRECTORY, True),
        (DIRECTORY, EMPTY.entry, False),
        (Entry(Kind.SYMLINK, target=b"x"), Entry(Kind.SYMLINK, target=b"x", uid=0), True),
        (Entry(Kind.SYMLINK, target=b"x"), Entry(Kind.SYMLINK, target=b"y"), False),
    ],
)
def test_matches_compares_what_is_asked_for(asked: Entry, live: Entry | None, *, same: bool) -> None:
    assert asked.matches(live) is same


def test_tree_as_deep_as_a_path_can_be_long_needs_no_deeper_stack() -> None:
    deep = b"/".join([b"d"] * 2047)
    assert 2 * depth(deep) > sys.getrecursionlimit()
    old, new = build({deep: FILE}), build({deep: OTHER, b"e": FILE})
    assert old.digest != new.digest
    assert (old.files, new.files) == (1, 2)
    assert lookup(new, deep) == OTHER
    assert len(list(walk(new))) == 2048
    assert [path for path, _, _ in diff(old, new)] == [deep, b"e"]
    assert edit(old, {deep: OTHER, b"e": FILE}).digest == new.digest
    assert [path for path, _, _ in diff(old, EMPTY)][-1] == deep
    assert not edit(old, {b"d": None}).children


def test_line_that_stands_in_a_symlink_too_is_exchanged_in_its_own_place() -> None:
    line = encode(b"file", FILE, FILE.digest)
    around = {b"%d" % number: FILE for number in range(20)} | {b"link": Entry(Kind.SYMLINK, target=line)}
    old = build({**around, b"file": FILE})
    assert old.digest
    assert edit(old, {b"file": OTHER}).digest == build({**around, b"file": OTHER}).digest


def test_small_directories_take_little_memory() -> None:
    tracemalloc.start()
    try:
        tree = build(MANY_DIRECTORIES)
        assert (len(tree.digest), tree.files) == (32, 1000)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 1000 * MOST_FOR_A_DIRECTORY


def test_edit_leaves_nothing_to_the_collector_of_cycles() -> None:
    tree = build(MANY_DIRECTORIES)
    gc.collect()
    gc.disable()
    try:
        assert edit(tree, dict.fromkeys(MANY_DIRECTORIES, OTHER)).digest != tree.digest
        assert gc.collect() == 0
    finally:
        gc.enable()


@given(
    TREES,
    st.dictionaries(PATHS, st.none() | ENTRIES, max_size=4),
    st.dictionaries(PATHS, st.none() | ENTRIES, max_size=4),
)
@MANY
def test_what_is_remembered_of_how_a_tree_came_to_be_is_what_comparing_finds(
    tree: Directory, edits: dict[bytes, Entry | None], more: dict[bytes, Entry | None]
) -> None:
    second = edit(tree, edits)
    third = edit(second, more)
    for old, new in ((tree, second), (second, third), (tree, third), (third, second)):
        remembered = sorted(changed_names(old, new))
        assert remembered == sorted(changed_names(old, Directory(new.entry, dict(new.children))))
