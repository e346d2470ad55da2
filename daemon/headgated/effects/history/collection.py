"""Gives back the room of what nobody refers to any more.

Marks everything reachable from heads, from kept and unfinished deployments and from what is pinned, then removes the rest, a
little at a time, so that deployments go on meanwhile. Whatever comes into use during a collection is marked before the next
removal. Where anything reachable cannot be read, nothing is removed at all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from headgated.core.errors import NotFoundError
from headgated.effects.history.database import Database
from headgated.effects.history.deployments import Deployments, needed
from headgated.effects.history.intake import Intake
from headgated.effects.history.pins import Pins
from headgated.effects.history.trees import Trees, nodes_below

_ROWS = 500
"""Contents looked at in one transaction."""
_PAGES = 500
"""Pages given back in one transaction."""


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection removed."""

    deployments: int
    contents: int
    """Contents and directory nodes."""
    bytes_returned: int
    """By which the file is smaller."""


class Collection:
    """Removes what nobody refers to. Thread-safe; one at a time."""

    def __init__(
        self, database: Database, contents: Intake, trees: Trees, deployments: Deployments, pins: Pins
    ) -> None:
        self._database, self._contents, self._trees = database, contents, trees
        self._deployments, self._pins = deployments, pins
        self._one_at_a_time = threading.Lock()
        with database.read() as sql:
            if sql.execute("SELECT 1 FROM sweeps").fetchone():
                trees.end_sweep(complete=False)

    def run(
        self, keep: frozenset[str], among: frozenset[str] | None, now_and_then: Callable[[], None]
    ) -> Collected:
        """Drop every finished deployment (of `among`) that is neither in `keep` nor at the head of an environment.

        Raises:
            HistoryDamagedError: something that is kept cannot be read; nothing was removed.
            UnavailableError: it cannot be written; what was removed until then is gone.
        """
        with self._one_at_a_time:
            before = self.size()
            with self._database.lock:
                live = _Live(self._contents, self._deployments)
                pinned = self._pins.begin_collection()
                going, staying, roots = self._sort_out(keep, among)
            try:
                live.mark(roots)
                live.mark_pinned(pinned)
                live.mark_changes(staying)
                self._drop(going)
                with self._database.lock:
                    fresh = self._pins.fresh_trees()
                live.mark_pinned(fresh)  # most of them, while others go on
                removed = self._sweep(live, now_and_then)
            finally:
                with self._database.lock:
                    self._pins.end_collection()
            self._shrink()
            self._database.checkpoint()
            return Collected(len(going), removed, max(0, before - self.size()))

    def _sort_out(
        self, keep: frozenset[str], among: frozenset[str] | None
    ) -> tuple[list[str], list[str], list[bytes]]:
        """Return the deployments that go, those that stay, and the trees that stay."""
        with self._database.read() as sql:
            heads = sql.execute("SELECT managed, deployment FROM heads").fetchall()
            untidy = sql.execute("SELECT deployment FROM staging").fetchall()
            rows = sql.execute("SELECT id, state, managed_before, managed_after FROM deployments").fetchall()
        kept = keep | {deployment_id for _, deployment_id in heads} | {row[0] for row in untidy}
        going = {
            row[0]
            for row in rows
            if row[1] != "intent" and row[0] not in kept and (among is None or row[0] in among)
        }
        staying = [row for row in rows if row[0] not in going]
        roots = [managed for managed, _ in heads] + [root for row in staying for root in row[2:]]
        return sorted(going), [row[0] for row in staying], roots

    def _drop(self, going: list[str]) -> None:
        """Drop deployments, but for those that were begun again since."""
        for at in range(0, len(going), _ROWS):
            with self._database.write() as sql:
                ids = [(deployment_id,) for deployment_id in going[at : at + _ROWS]]
                sql.executemany(
                    "DELETE FROM deployments WHERE id = ? AND state <> 'intent'"
                    " AND id NOT IN (SELECT deployment FROM staging) AND id NOT IN (SELECT deployment FROM heads)",
                    ids,
                )
                sql.executemany(
                    "DELETE FROM changes WHERE deployment = ?1 AND NOT EXISTS"
                    " (SELECT 1 FROM deployments WHERE id = ?1 UNION ALL SELECT 1 FROM staging WHERE deployment = ?1)",
                    ids,
                )

    def _sweep(self, live: _Live, now_and_then: Callable[[], None]) -> int:
        """Remove contents. One that is cut off leaves a note: parts of what was to go are missing."""
        complete = False
        try:
            with self._database.write() as sql:
                live.mark_pinned(self._pins.fresh_trees())
                self._trees.begin_sweep(live)
                sql.execute("INSERT OR IGNORE INTO sweeps VALUES (1)")
            removed = self._sweep_all(live, now_and_then)
            with self._database.write() as sql:
                sql.execute("DELETE FROM sweeps")
            complete = True
        finally:
            with self._database.lock:
                self._trees.end_sweep(complete=complete)
        return removed

    def _sweep_all(self, live: _Live, now_and_then: Callable[[], None]) -> int:
        """Remove the newest first: those lie at the end of the file, which then only has to be cut off."""
        removed, last = 0, 2**62
        rows: list[tuple[int, bytes, int | None]] = [(last, b"", None)]
        while rows:
            now_and_then()
            large: list[int] = []
            with self._database.write() as sql:
                statement = "SELECT id, digest, series FROM contents WHERE id < ? ORDER BY id DESC LIMIT ?"
                rows = sql.execute(statement, (last, _ROWS)).fetchall()
                dead = [row for row in rows if row[1] not in live and row[1] not in self._pins]
                sql.executemany("DELETE FROM contents WHERE id = ?", [(row[0],) for row in dead])
                for _, digest, series in dead:
                    self._trees.drop(digest)
                    large += [series] if series is not None else []
            for series in large:
                self._contents.remove_series(series)
            removed += len(dead)
            if dead:
                self._shrink()
            last = rows[-1][0] if rows else last
        return removed

    def _shrink(self) -> None:
        """Give free pages back at once: SQLite searches all that are free for each that it gives back."""
        left, before = self._database.shrink(_PAGES), -1
        while left not in (0, before):
            left, before = self._database.shrink(_PAGES), left

    def size(self) -> int:
        """Return how many bytes the file has."""
        with self._database.read() as sql:
            pages, page = (
                sql.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "page_size")
            )
            return int(pages * page)


class _Live:
    """The digests that stay."""

    def __init__(self, contents: Intake, deployments: Deployments) -> None:
        self._contents, self._deployments = contents, deployments
        self._nodes: set[bytes] = set()
        self._files: set[bytes] = set()

    def __contains__(self, digest: object) -> bool:
        return digest in self._nodes or digest in self._files

    def mark(self, roots: Iterable[bytes]) -> None:
        """Mark trees with all that is below them."""
        for _, files in nodes_below(self._contents, roots, self._nodes):
            self._files.update(files)

    def mark_pinned(self, roots: Iterable[bytes]) -> None:
        """Mark trees some of which may still be on their way in; what is written of those is pinned node by node."""
        self.mark(root for root in roots if self._contents.stored(root))

    def mark_changes(self, deployment_ids: Iterable[str]) -> None:
        """Mark what deployments replaced and brought."""
        for deployment_id in deployment_ids:
            try:
                for batch in self._deployments.batches(deployment_id):
                    self._files.update(digest for change in batch for digest in needed(change))
            except NotFoundError:
                continue  # an intent that was abandoned and forgotten meanwhile
