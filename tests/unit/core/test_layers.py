"""Later sources win path by path; a file against a directory is an error; equal parts are shared."""

from __future__ import annotations

import pytest

from headgated.core.errors import DeploymentFailedError
from headgated.core.layers import Layers
from headgated.core.tree import Entry, Kind, build, lookup, walk

ONE, TWO = (Entry(Kind.FILE, 0o644, bytes([n]) * 32, n) for n in (1, 2))
FOLDER = Entry(Kind.DIRECTORY, 0o755)
LINK = Entry(Kind.SYMLINK, target=b"x")


def test_later_ones_win_path_by_path() -> None:
    tree = Layers().overlay([build({b"a": ONE, b"d/x": ONE, b"d/y": ONE}), build({b"d/x": TWO, b"z": TWO})])
    found = {path: entry for path, entry in walk(tree) if entry.kind != Kind.DIRECTORY}
    assert found == {b"a": ONE, b"d/x": TWO, b"d/y": ONE, b"z": TWO}


def test_directory_takes_the_later_ones_mode() -> None:
    first, second = (
        build({b"d": FOLDER, b"d/x": ONE}),
        build({b"d": Entry(Kind.DIRECTORY, 0o700), b"d/y": ONE}),
    )
    node = lookup(Layers().overlay([first, second]), b"d")
    assert node is not None
    assert node.entry.mode == 0o700  # type: ignore[union-attr]


def test_file_against_directory_names_every_clash() -> None:
    with pytest.raises(DeploymentFailedError) as caught:
        Layers().overlay(
            [build({b"a": ONE, b"b/x": ONE, b"c": ONE}), build({b"a/x": ONE, b"b": LINK, b"c": LINK})]
        )
    assert caught.value.reason == "LAYER_CLASH"
    assert set(caught.value.paths) == {"a", "b"}


def test_what_one_layer_alone_has_is_shared_and_known_pairs_are_not_merged_again() -> None:
    layers = Layers()
    base, over = build({b"only/x": ONE, b"both/x": ONE}), build({b"both/y": TWO})
    tree = layers.overlay([base, over])
    assert lookup(tree, b"only") is lookup(base, b"only")
    again = layers.overlay([base, build({b"both/y": TWO, b"new": ONE})])
    assert lookup(again, b"both") is lookup(tree, b"both")


def test_no_layers_is_nothing() -> None:
    assert dict(walk(Layers().overlay([]))) == {}
    assert dict(walk(Layers().overlay([build({})]))) == {}
