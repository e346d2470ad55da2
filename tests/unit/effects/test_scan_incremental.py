"""However the hints come, what is known step by step is what a look from scratch finds."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import given, settings, strategies as st
from tests.unit.effects.scanning import good

from headgated.core.tree import diff
from headgated.effects.scan import Source

NAMES = st.sampled_from(["a", "b", "c", ".headgateignore"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
RULES = st.sampled_from(["a\n", "b/\n", "!a\n*\n", "/c\nb\n", "*\n!c\n"])
ACTIONS = st.one_of(
    st.tuples(st.just("write"), PATHS, RULES),
    st.tuples(st.just("directory"), PATHS, RULES),
    st.tuples(st.just("link"), PATHS, NAMES),
    st.tuples(st.just("remove"), PATHS, NAMES),
    st.tuples(st.just("mode"), PATHS, NAMES),
    st.tuples(st.just("rename"), PATHS, PATHS),
)


def act(root: Path, kind: str, where: str, what: str) -> set[bytes]:
    """Do something, if it can be done; return what a watcher would tell."""
    path = root / where
    told = {os.fsencode(where)}
    if any(os.path.realpath(name.parent) != str(name.parent) for name in (path, root / what)):
        return set()  # through a symlink: a watcher would tell the path that it leads to
    if kind == "remove" and path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif kind == "remove":
        path.unlink(missing_ok=True)
    elif kind == "write" and not path.is_symlink():
        path.write_text(what)
    elif kind == "directory":
        path.mkdir(parents=True)
        told = {os.fsencode(where.partition("/")[0])}
    elif kind == "link" and path.name != ".headgateignore":
        path.symlink_to(what)
    elif kind == "mode" and not path.is_symlink():
        path.chmod(0o711 if path.stat().st_mode & 0o777 == 0o700 else 0o700)
    elif kind == "rename" and Path(what).name != ".headgateignore" != path.name:
        path.rename(root / what)
        told.add(os.fsencode(what))
    return told


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(ACTIONS, min_size=1, max_size=3), min_size=1, max_size=8))
def test_hinted_snapshots_equal_a_scan_from_scratch(rounds: list[list[tuple[str, str, str]]]) -> None:
    top = Path(tempfile.mkdtemp())
    try:
        root = top.resolve() / "source"
        root.mkdir()
        source = Source(str(root))
        source.snapshot()
        for actions in rounds:
            for kind, where, what in actions:
                try:
                    told = act(root, kind, where, what)
                except OSError:
                    continue
                source.mark(frozenset(told))
            known, fresh = source.snapshot(), Source(str(root)).snapshot()
            if fresh.faults:
                continue  # a faulty path keeps what was known of it, and a new source knows nothing
            assert list(diff(good(known).tree, fresh.tree)) == []
            source.mark(None)
            assert good(source.snapshot()).tree is known.tree
    finally:
        shutil.rmtree(top)
