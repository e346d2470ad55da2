"""T3: a symlink leads out of no tree."""

from __future__ import annotations

import os
import posixpath
import shutil
import tempfile

import pytest
from hypothesis import given, settings, strategies as st
from tests.unit.core.test_tree import TREES

from headgated.core.links import changed_links, leads_out
from headgated.core.tree import EMPTY, Directory, Kind, diff


@pytest.mark.parametrize(
    ("path", "target", "out"),
    [
        (b"a", b"b", False),
        (b"a", b"./b//c/", False),
        (b"a", b".", False),
        (b"d/a", b"..", False),
        (b"d/a", b"../b", False),
        (b"d/e/a", b"../../b/c", False),
        (b"d/a", b"..b/...", False),
        (b"a", b"/etc/passwd", True),
        (b"a", b"/", True),
        (b"a", b"..", True),
        (b"a", b"../b", True),
        (b"d/a", b"../../b", True),
        (b"d/a", b"./.././..", True),
        (b"a", b"b/../../c", True),
        (b"a", b"b/../c", True),  # `b` may be a symlink to a directory near the root
        (b"d/a", b"../e/..", True),
        (b"d/a", b"e/../f", True),
    ],
)
def test_link_that_may_lead_out_is_told(path: bytes, target: bytes, *, out: bool) -> None:
    assert leads_out(path, target) is out


DIRECTORIES = [b"", b"a", b"a/b", b"a/b/c", b"d"]
TARGETS = st.lists(
    st.sampled_from([b"..", b".", b"a", b"b", b"c", b"d", b"l0", b"l1", b"l2", b"/"]), max_size=6
).map(b"/".join)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(DIRECTORIES), TARGETS), min_size=1, max_size=3))
def test_no_chain_of_links_that_stay_leaves_the_tree(links: list[tuple[bytes, bytes]]) -> None:
    top = os.path.realpath(tempfile.mkdtemp()).encode()
    try:
        root = top + b"/outside/root"
        os.makedirs(root + b"/a/b/c")
        os.mkdir(root + b"/d")
        made = []
        for number, (directory, target) in enumerate(links):
            path = posixpath.join(directory, b"l%d" % number)
            if target and not leads_out(path, target):
                os.symlink(target, posixpath.join(root, path))
                made.append(path)
        for path in made:
            try:
                end = os.path.realpath(posixpath.join(root, path), strict=True)
            except OSError:  # It leads nowhere, or round in circles.
                continue
            assert end == root or end.startswith(root + b"/")
    finally:
        shutil.rmtree(top)


@given(st.sampled_from(DIRECTORIES), TARGETS)
def test_link_that_leads_out_by_its_text_is_told(directory: bytes, target: bytes) -> None:
    end = posixpath.normpath(posixpath.join(b"/root", directory, target))
    if not (end == b"/root" or end.startswith(b"/root/")):
        assert leads_out(posixpath.join(directory, b"link"), target)


@given(TREES, TREES)
def test_changed_links_are_those_of_the_difference(old: Directory, new: Directory) -> None:
    found = dict(changed_links(old, new))
    different = {path: after for path, _, after in diff(old, new) if after is not None}
    assert found.keys() >= {path for path, entry in different.items() if entry.kind == Kind.SYMLINK}
    assert dict(changed_links(EMPTY, new)).items() >= found.items()
    assert list(changed_links(new, new)) == []
