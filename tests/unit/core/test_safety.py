"""S6-S8: a broken source never empties a target."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headgated.core.environment import SourceMark
from headgated.core.safety import ACCEPTABLE, emptied, is_back, mass_removal, source_halt
from headgated.core.source import RootState, ScanFault, Snapshot
from headgated.core.tree import EMPTY, Entry, Kind, build

FULL = build(
    {
        b"a.conf": Entry(Kind.FILE, 0o644, digest=b"a" * 32, size=3),
        b"d/link": Entry(Kind.SYMLINK, target=b"x"),
    }
)
ONLY_DIRECTORIES = build({b"d": Entry(Kind.DIRECTORY, 0o755)})
HERE = Snapshot(FULL, RootState.OK, (1, 2), is_mount=False, faults=(), settled=True, scanned_at=0.0)
MARK = SourceMark(device=1, inode=2, is_mount=False, had_files=True)


@pytest.mark.parametrize(
    ("now", "was_mount", "had_files", "reason"),
    [
        (HERE, False, True, None),
        (HERE, None, False, None),
        (replace(HERE, is_mount=True), True, True, None),
        (replace(HERE, is_mount=True), False, True, None),
        (replace(HERE, tree=EMPTY), False, False, None),
        (replace(HERE, tree=EMPTY), None, False, None),
        (replace(HERE, root=RootState.ABSENT, tree=EMPTY), False, True, "SOURCE_MISSING"),
        (replace(HERE, root=RootState.ABSENT, tree=EMPTY), None, False, "SOURCE_MISSING"),
        (replace(HERE, root=RootState.NOT_A_DIRECTORY, tree=EMPTY), False, True, "SOURCE_NOT_A_DIRECTORY"),
        (replace(HERE, root=RootState.UNREADABLE), False, True, "SOURCE_UNREADABLE"),
        (replace(HERE, tree=EMPTY), True, True, "SOURCE_UNMOUNTED"),
        (HERE, True, True, "SOURCE_UNMOUNTED"),
        (replace(HERE, tree=EMPTY), False, True, "SOURCE_EMPTY"),
        (replace(HERE, tree=ONLY_DIRECTORIES), False, True, "SOURCE_EMPTY"),
    ],
)
def test_source_halt_names_the_disaster(
    now: Snapshot, *, was_mount: bool | None, had_files: bool, reason: str | None
) -> None:
    verdict = source_halt("/srv/app", now, was_mount=was_mount, had_files=had_files, environment="shop")
    assert (verdict.reason if verdict else None) == reason
    if verdict is not None:
        assert verdict.message.startswith("cannot deploy from /srv/app: ")
        assert verdict.hint
        assert not (verdict.message + verdict.hint).endswith(".")
        assert ("shop" in verdict.hint) is (verdict.reason in ACCEPTABLE)


@pytest.mark.parametrize(
    ("managed", "wanted", "halts"),
    [(0, 0, False), (0, 5, False), (1, 1, False), (1, 0, True), (500, 0, True)],
)
def test_sources_without_any_file_empty_no_target(managed: int, wanted: int, *, halts: bool) -> None:
    verdict = emptied(managed, wanted, environment="shop")
    assert (verdict is not None) is halts
    if verdict is not None:
        assert verdict.reason == "SOURCE_EMPTY"
        assert "headgate deploy shop --allow-empty" in verdict.hint


@pytest.mark.parametrize(
    ("managed", "removed", "halts"),
    [
        (0, 0, False),
        (9, 9, False),
        (10, 5, False),
        (10, 6, True),
        (11, 5, False),
        (11, 6, True),
        (1000, 500, False),
        (1000, 501, True),
        (1000, 1000, True),
    ],
)
def test_mass_removal_is_more_than_half_of_ten_or_more(managed: int, removed: int, *, halts: bool) -> None:
    verdict = mass_removal(managed, removed, environment="shop")
    assert (verdict is not None) is halts
    if verdict is not None:
        assert verdict.reason == "MASS_REMOVAL"
        assert f"{removed} of {managed} managed files" in verdict.message
        assert "headgate deploy shop --allow-mass-removal" in verdict.hint


@pytest.mark.parametrize(
    ("mark", "now", "back"),
    [
        (MARK, HERE, True),
        (MARK, replace(HERE, tree=EMPTY), False),
        (replace(MARK, had_files=False), replace(HERE, tree=EMPTY), True),
        (MARK, replace(HERE, identity=(1, 3)), False),
        (MARK, replace(HERE, identity=(9, 2)), False),
        (MARK, replace(HERE, is_mount=True), False),
        (replace(MARK, is_mount=True), HERE, False),
        (MARK, replace(HERE, identity=None, root=RootState.ABSENT), False),
        (MARK, replace(HERE, root=RootState.UNREADABLE), False),
        (MARK, replace(HERE, settled=False), False),
        (MARK, replace(HERE, faults=(ScanFault(b"x", "UNREADABLE", "cannot read x"),)), False),
        (None, HERE, True),
        (None, replace(HERE, tree=EMPTY), True),
        (None, replace(HERE, root=RootState.ABSENT, identity=None), False),
    ],
)
def test_source_is_back_only_as_it_was(mark: SourceMark | None, now: Snapshot, *, back: bool) -> None:
    assert is_back(mark, now) is back
