"""What is changed, and what never is (T4, T5, T6)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from tests.unit.effects.world import (
    D,
    F,
    L,
    Thing,
    World,
    build as build_world,
    entry as entry_of,
    look,
    reader,
)

from headgated.core.errors import DeploymentFailedError
from headgated.core.plan import Change, Plan, affected, make_plan
from headgated.core.steps import steps
from headgated.core.tree import EMPTY, Directory, Entry, Kind, build, edit, walk
from headgated.effects.target import Target

Entries = Mapping[bytes, Entry]


def file(number: int, mode: int = 0o644) -> Entry:
    return Entry(Kind.FILE, mode, bytes([number]) * 32, number)


ONE, TWO, THREE = file(1), file(2), file(3)
FOLDER = Entry(Kind.DIRECTORY, 0o755)
THEIRS = Entry(Kind.DIRECTORY)
"""A directory that was there before us, as it is kept."""
LINK = Entry(Kind.SYMLINK, target=b"x")


def plan(managed: Entries, wanted: Entries, live: Entries, *, prune: bool = True, full: bool = False) -> Plan:
    """Plan as the engine does."""
    old, new = build(managed), build(wanted)
    suspects = [path for path, entry in walk(old) if not entry.stays(found(live, path))] if full else []
    paths = affected(old, new, suspects)
    seen = {path: found(live, path) for path in paths}
    foreign = {
        path: {below: entry for below, entry in live.items() if below.startswith(path + b"/")}
        for path, entry in paths.items()
        if entry is not None and entry.kind != Kind.DIRECTORY and is_directory(seen[path])
    }
    return make_plan(old, paths, seen, foreign, prune=prune)


def is_directory(entry: Entry | None) -> bool:
    return entry is not None and entry.kind == Kind.DIRECTORY


def found(live: Entries, path: bytes) -> Entry | None:
    """Return what a target would: directories on the way need not be named."""
    if path in live:
        return live[path]
    return FOLDER if any(other.startswith(path + b"/") for other in live) else None


def told(changes: tuple[Change, ...]) -> dict[bytes, tuple[Entry | None, Entry | None]]:
    return {change.path: (change.expected, change.wanted) for change in changes}


def test_nothing_to_do_is_nothing() -> None:
    tree = {b"a": ONE, b"d/b": TWO}
    for full in (False, True):
        made = plan(tree, tree, tree, full=full)
        assert (made.changes, made.notes, made.unchanged) == ((), (), 2)
        assert made.result.digest == build(tree).digest


def test_first_deployment_adds_everything_parents_first() -> None:
    wanted = {b"d": FOLDER, b"d/e": FOLDER, b"d/e/f": ONE, b"d-": TWO, b"l": LINK}
    made = plan({}, wanted, {})
    assert [change.path for change in made.changes] == [b"d", b"d/e", b"d/e/f", b"d-", b"l"]
    assert told(made.changes) == {path: (None, entry) for path, entry in wanted.items()}
    assert dict(walk(made.result)) == wanted
    assert made.unchanged == 0


def test_changed_file_expects_what_is_there() -> None:
    made = plan({b"a": ONE, b"b": TWO}, {b"a": THREE, b"b": TWO}, {b"a": ONE, b"b": TWO})
    assert made.changes == (Change(b"a", ONE, THREE),)
    assert made.unchanged == 1


def test_hand_edited_file_is_expected_as_it_was_edited() -> None:
    """T5: so that the edit gets into history before it is overwritten."""
    made = plan({b"a": ONE}, {b"a": THREE}, {b"a": TWO})
    assert made.changes == (Change(b"a", TWO, THREE),)


def test_foreign_file_in_the_way_of_a_file_is_expected() -> None:
    made = plan({}, {b"a": ONE}, {b"a": TWO})
    assert made.changes == (Change(b"a", TWO, ONE),)


def test_file_that_is_already_right_becomes_ours_without_a_change() -> None:
    made = plan({}, {b"a": ONE}, {b"a": replace(ONE, uid=0, gid=0)})
    assert made.changes == ()
    assert dict(walk(made.result)) == {b"a": ONE}


@pytest.mark.parametrize("live", [replace(ONE, mode=0o600), TWO, None, LINK])
def test_drift_is_healed_by_a_full_plan_only(live: Entry | None) -> None:
    target = {} if live is None else {b"a": live}
    assert plan({b"a": ONE}, {b"a": ONE}, target).changes == ()
    assert plan({b"a": ONE}, {b"a": ONE}, target, full=True).changes == (Change(b"a", live, ONE),)


def test_owner_that_nobody_asked_for_does_not_count() -> None:
    assert plan({}, {b"a": ONE}, {b"a": replace(ONE, uid=7, gid=8)}).changes == ()
    made = plan({}, {b"a": replace(ONE, uid=9)}, {b"a": replace(ONE, uid=7, gid=8)})
    assert made.changes == (Change(b"a", replace(ONE, uid=7, gid=8), replace(ONE, uid=9)),)


class TestPruning:
    """T4: only paths of the last manifest, unchanged since."""

    def test_what_left_the_sources_goes_with_its_directory(self) -> None:
        managed = {b"d": FOLDER, b"d/a": ONE, b"b": TWO}
        made = plan(managed, {b"b": TWO}, managed)
        assert told(made.changes) == {b"d": (FOLDER, None), b"d/a": (ONE, None)}
        assert dict(walk(made.result)) == {b"b": TWO}

    def test_foreign_files_are_not_even_looked_at(self) -> None:
        managed = {b"d": FOLDER, b"d/a": ONE}
        made = plan(managed, {}, {**managed, b"d/foreign": TWO, b"other": THREE}, full=True)
        assert {change.path for change in made.changes} == {b"d", b"d/a"}

    @pytest.mark.parametrize("live", [TWO, replace(ONE, mode=0o600), LINK, FOLDER])
    def test_what_was_changed_since_stays_and_is_noted_and_is_no_longer_ours(self, live: Entry) -> None:
        made = plan({b"a": ONE, b"b": ONE}, {b"b": ONE}, {b"a": live, b"b": ONE})
        assert made.changes == ()
        assert made.notes == ("a left the sources and stays: it was changed at the target",)
        assert dict(walk(made.result)) == {b"b": ONE}

    def test_what_is_gone_already_is_only_forgotten(self) -> None:
        made = plan({b"a": ONE}, {}, {})
        assert (made.changes, made.notes) == ((), ())
        assert dict(walk(made.result)) == {}

    def test_directory_that_was_there_before_us_stays(self) -> None:
        made = plan({b"d": THEIRS, b"d/a": ONE}, {}, {b"d": FOLDER, b"d/a": ONE})
        assert told(made.changes) == {b"d/a": (ONE, None)}
        assert dict(walk(made.result)) == {}

    def test_directory_of_ours_goes_whatever_its_mode_is(self) -> None:
        changed = replace(FOLDER, mode=0o700)
        assert plan({b"d": FOLDER}, {}, {b"d": changed}).changes == (Change(b"d", changed, None),)

    def test_off_keeps_it_managed_and_says_so(self) -> None:
        managed = {b"a": ONE, b"b": TWO}
        made = plan(managed, {b"b": TWO}, managed, prune=False)
        assert made.changes == ()
        assert made.notes == ("a left the sources and stays: prune is off",)
        assert dict(walk(made.result)) == managed

    def test_off_still_lets_a_directory_give_way(self) -> None:
        managed = {b"d": FOLDER, b"d/a": ONE}
        made = plan(managed, {b"d": TWO}, managed, prune=False)
        assert told(made.changes) == {b"d": (FOLDER, TWO), b"d/a": (ONE, None)}
        assert dict(walk(made.result)) == {b"d": TWO}
        assert made.notes == ()


class TestDirectories:
    def test_one_that_was_there_before_us_keeps_its_attributes_and_is_not_ours(self) -> None:
        live = replace(FOLDER, mode=0o1777, uid=7)
        made = plan({}, {b"d": FOLDER, b"d/a": ONE}, {b"d": live})
        assert told(made.changes) == {b"d/a": (None, ONE)}
        assert dict(walk(made.result)) == {b"d": THEIRS, b"d/a": ONE}
        again = plan(dict(walk(made.result)), {b"d": FOLDER, b"d/a": ONE}, {b"d": live, b"d/a": ONE})
        assert again.changes == ()
        assert again.result.digest == made.result.digest

    def test_one_of_ours_gets_the_mode_that_the_source_has(self) -> None:
        closed = replace(FOLDER, mode=0o700)
        made = plan({b"d": FOLDER}, {b"d": closed}, {b"d": FOLDER})
        assert made.changes == (Change(b"d", FOLDER, closed),)
        assert dict(walk(made.result)) == {b"d": closed}

    def test_one_that_somebody_removed_is_made_again_for_what_changes_in_it(self) -> None:
        """Otherwise no deployment into it would ever succeed again."""
        managed = {b"d": FOLDER, b"d/e": FOLDER, b"d/e/a": ONE}
        made = plan(managed, {**managed, b"d/e/a": TWO}, {})
        assert told(made.changes) == {b"d": (None, FOLDER), b"d/e": (None, FOLDER), b"d/e/a": (None, TWO)}

    def test_one_of_ours_that_somebody_made_a_symlink_is_made_again(self) -> None:
        made = plan({b"d": FOLDER, b"d/a": ONE}, {b"d": FOLDER, b"d/a": TWO}, {b"d": LINK})
        assert told(made.changes) == {b"d": (LINK, FOLDER), b"d/a": (None, TWO)}

    def test_one_that_somebody_put_in_place_of_our_file_does_not_become_ours(self) -> None:
        live = replace(FOLDER, mode=0o700)
        made = plan({b"d": ONE}, {b"d": FOLDER}, {b"d": live})
        assert made.changes == ()
        assert dict(walk(made.result)) == {b"d": THEIRS}


class TestTypes:
    """T6: only known, unchanged content is removed; otherwise it is refused."""

    def test_file_of_ours_gives_way_to_a_directory(self) -> None:
        made = plan({b"d": ONE}, {b"d": FOLDER, b"d/a": TWO}, {b"d": ONE})
        assert told(made.changes) == {b"d": (ONE, FOLDER), b"d/a": (None, TWO)}
        assert dict(walk(made.result)) == {b"d": FOLDER, b"d/a": TWO}

    def test_directory_of_ours_gives_way_to_a_file(self) -> None:
        managed = {b"d": FOLDER, b"d/e": FOLDER, b"d/e/a": ONE}
        made = plan(managed, {b"d": TWO}, managed)
        assert told(made.changes) == {b"d": (FOLDER, TWO), b"d/e": (FOLDER, None), b"d/e/a": (ONE, None)}
        assert dict(walk(made.result)) == {b"d": TWO}

    @pytest.mark.parametrize(
        ("managed", "live"),
        [
            ({b"d": FOLDER, b"d/a": ONE}, {b"d": FOLDER, b"d/a": ONE, b"d/foreign": TWO}),
            ({b"d": FOLDER, b"d/a": ONE}, {b"d": FOLDER, b"d/a": TWO}),
            ({b"d": FOLDER, b"d/a": ONE}, {b"d": FOLDER, b"d/a": ONE, b"d/foreign": FOLDER}),
            ({b"d": FOLDER, b"d/e": THEIRS, b"d/e/a": ONE}, {b"d": FOLDER, b"d/e": FOLDER, b"d/e/a": ONE}),
            ({}, {b"d": FOLDER, b"d/foreign": TWO}),
        ],
        ids=["foreign file", "edited file", "foreign directory", "directory from before us", "all foreign"],
    )
    def test_directory_with_other_content_does_not_give_way(self, managed: Entries, live: Entries) -> None:
        with pytest.raises(DeploymentFailedError) as caught:
            plan(managed, {b"d": TWO, b"e": TWO}, live)
        assert caught.value.reason == "TYPE_CLASH"
        assert caught.value.paths == ("d",)
        assert "Headgate did not put there" in caught.value.message

    @pytest.mark.parametrize("live", [TWO, LINK])
    @pytest.mark.parametrize(
        "managed", [{}, {b"d": THEIRS, b"d/a": ONE}], ids=["never ours", "directory from before us"]
    )
    def test_foreign_file_or_symlink_does_not_give_way_to_a_directory(
        self, managed: Entries, live: Entry
    ) -> None:
        """A symlink may lead to a directory full of files that nobody would see any more."""
        with pytest.raises(DeploymentFailedError) as caught:
            plan(managed, {b"d": FOLDER, b"d/a": TWO}, {b"d": live})
        assert caught.value.reason == "TYPE_CLASH"
        assert caught.value.paths == ("d",)

    def test_every_clash_is_named(self) -> None:
        live = {b"a": FOLDER, b"a/x": ONE, b"b": FOLDER, b"b/x": ONE, b"c": LINK}
        with pytest.raises(DeploymentFailedError) as caught:
            plan({}, {b"a": ONE, b"b": ONE, b"c": FOLDER, b"c/y": ONE}, live)
        assert caught.value.paths == ("a", "b", "c")


def test_affected_names_differences_and_the_directories_they_are_in() -> None:
    old = {b"d": FOLDER, b"d/e": FOLDER, b"d/e/a": ONE, b"d/b": ONE, b"f": FOLDER, b"f/g": ONE, b"h": FOLDER}
    new = {**old, b"d/e/a": TWO}
    del new[b"f/g"]
    assert affected(build(old), build(new)) == {b"d/e/a": TWO, b"d/e": FOLDER, b"d": FOLDER, b"f/g": None}


def test_affected_names_suspects_with_what_is_wanted_there() -> None:
    old = {b"a": ONE, b"d": FOLDER, b"d/b": TWO, b"e": FOLDER, b"e/f": ONE}
    new = {b"d": FOLDER, b"d/b": TWO, b"e": FOLDER, b"e/f": ONE}
    assert affected(build(old), build(new), [b"d/b"]) == {b"a": None, b"d": FOLDER, b"d/b": TWO}
    assert affected(build(old), build(new), [b"a", b"e"]) == {b"a": None, b"e": FOLDER}


# Trees against real directories: what is deployed, what is planned and what is there agree.

NAMES = st.sampled_from([b"a", b"b", b"a.b"])
LEAVES: st.SearchStrategy[Thing] = st.one_of(
    st.builds(F, st.sampled_from([b"", b"1", b"2"]), st.sampled_from([0o600, 0o644])),
    st.builds(L, st.sampled_from([b"a", b"b"])),
)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    world: dict[bytes, Thing] = {}
    for name in draw(st.sets(NAMES)):
        world[name] = draw(LEAVES | st.builds(D, st.sampled_from([0o700, 0o755])))
        if isinstance(world[name], D):
            for inner in draw(st.sets(NAMES)):
                world[name + b"/" + inner] = draw(LEAVES | st.just(D()))
    return world


def tree(world: World) -> Directory:
    return edit(EMPTY, {path: entry_of(thing) for path, thing in world.items()})


class Deployer:
    """Deploys worlds to a directory, as the engine does, and remembers what is managed."""

    def __init__(self, root: Path) -> None:
        self.target, self.managed = Target(str(root)), EMPTY
        self.count = 0

    def deploy(self, world: World, *, full: bool = False, prune: bool = True) -> Plan:
        wanted = tree(world)
        suspects = [path for some in self.target.differing(self.managed) for path in some] if full else []
        paths = affected(self.managed, wanted, suspects)
        live = self.target.observe(paths)
        foreign = {
            path: self.target.below(path)
            for path, entry in paths.items()
            if entry is not None and entry.kind != Kind.DIRECTORY and is_directory(live[path])
        }
        made = make_plan(self.managed, paths, live, foreign, prune=prune)
        self.count += 1
        self.target.prepare(made.changes)
        planned = steps(made.changes, f"{self.count:012x}")
        self.target.stage(planned, reader(world))
        self.target.apply(planned)
        self.target.finish(planned)
        self.managed = made.result
        return made


def in_memory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)


@settings(max_examples=100, deadline=None)
@given(history=st.lists(worlds(), min_size=1, max_size=4), full=st.booleans())
def test_what_is_wanted_is_there_and_managed(history: list[World], full: bool) -> None:  # noqa: FBT001
    with in_memory() as directory:
        root = Path(directory).resolve()
        deployer = Deployer(root)
        for world in history:
            deployer.deploy(world, full=full)
            assert look(root) == world
            assert deployer.managed.digest == tree(world).digest
            assert deployer.deploy(world, full=True).changes == ()
        deployer.deploy({})
        assert look(root) == {}


@settings(max_examples=100, deadline=None)
@given(foreign=worlds(), history=st.lists(worlds(), min_size=1, max_size=3), prune=st.booleans())
def test_foreign_content_survives(foreign: World, history: list[World], prune: bool) -> None:  # noqa: FBT001
    """What was there and no source asked for is there in the end, directories too; what clashes changes nothing."""
    with in_memory() as directory:
        root = Path(directory).resolve()
        build_world(root, foreign)
        deployer, asked, replaced = Deployer(root), set[bytes](), set[bytes]()
        for world in history:
            before = look(root)
            if clashes(deployer, world, prune=prune):
                assert look(root) == before
                continue
            asked |= {path for path, thing in world.items() if not isinstance(thing, D)}
            replaced |= {path for path in asked if isinstance(foreign.get(path), D)}
            there = look(root)
            assert all(there[path] == thing for path, thing in world.items() if not isinstance(thing, D))
        deployer.deploy({})
        there = look(root)
        kept = {
            path: thing for path, thing in foreign.items() if path not in asked and not below(path, replaced)
        }
        assert {path: there.get(path) for path in kept} == kept


def clashes(deployer: Deployer, world: World, *, prune: bool) -> bool:
    try:
        deployer.deploy(world, prune=prune)
    except DeploymentFailedError as error:
        if error.reason != "TYPE_CLASH":
            raise
        return True
    return False


def below(path: bytes, replaced: set[bytes]) -> bool:
    return any(path.startswith(other + b"/") for other in replaced)
