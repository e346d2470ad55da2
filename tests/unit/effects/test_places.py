"""Where directories are, and which of them overlap (T1, T2)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from headgated.effects.places import Ground, Neighbours, Place

NAMES = (
    "",
    "/a",
    "/a/b",
    "/a/b/c",
    "/ab",
    "/link",
    "/link/c",
    "/link/new",
    "/new",
    "/new/deep",
    "/a/../ab",
    "/a/",
    "/loop",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("places")
    (root / "a" / "b" / "c").mkdir(parents=True)
    (root / "ab").mkdir()
    (root / "link").symlink_to("a/b")
    (root / "loop").symlink_to("loop")
    return root


@pytest.mark.parametrize("path", ["/", "/etc", "/etc/", "//etc", ".", "relative/path", *NAMES])
def test_place_is_where_the_path_really_is(root: Path, path: str) -> None:
    given_path = f"{root}{path}" if path in NAMES else path
    place = Place.of(given_path)
    assert place.real == os.path.realpath(given_path)
    assert place.identity == (_identity(place.real) if os.path.exists(place.real) else None)
    above = [str(parent) for parent in Path(place.real).parents]
    assert place.above == {_identity(parent) for parent in above if os.path.exists(parent)}


def test_root_hides_nothing_above_its_children() -> None:
    ground = Ground()
    assert ground.place("/").above == frozenset()
    assert ground.place("/etc").inside(ground.place("/"))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(("/", *NAMES)), max_size=8), st.sampled_from(("/", *NAMES)))
def test_neighbours_are_those_that_overlap(root: Path, others: list[str], asked: str) -> None:
    ground, neighbours = Ground(), Neighbours[int]()
    places = [ground.place(name if name == "/" else f"{root}{name}") for name in others]
    for number, place in enumerate(places):
        neighbours.add(place, number)
    here = ground.place(asked if asked == "/" else f"{root}{asked}")
    assert sorted(neighbours.overlapping(here)) == [
        n for n, place in enumerate(places) if here.overlaps(place)
    ]


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino
