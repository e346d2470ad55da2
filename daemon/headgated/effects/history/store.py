"""Headgate's memory: every content that was deployed or overwritten, every tree, every commitment.

One file, `history.db`. The class only brings the parts together; each says what it promises:
`Intake` and `Trees` (what is stored), `Journal` (what is committed to), `Deployments` and `Heads` (what was),
`Recovery` (what is unfinished), `Requests`, `inspect`, `Collection`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from headgated.core.intent import Intent
from headgated.core.plan import Change
from headgated.core.tree import EMPTY, Directory
from headgated.effects.durable import at_once
from headgated.effects.history.collection import Collected, Collection
from headgated.effects.history.database import Database
from headgated.effects.history.deployments import Deployments, Finished
from headgated.effects.history.heads import Head, Heads
from headgated.effects.history.inspection import inspect
from headgated.effects.history.intake import Intake
from headgated.effects.history.journal import Journal
from headgated.effects.history.pins import Pins
from headgated.effects.history.reading import explained
from headgated.effects.history.recovery import Recovery, Unfinished
from headgated.effects.history.requests import Requests
from headgated.effects.history.room import check_room, is_little, leaves, volume, without
from headgated.effects.history.trees import Trees
from headgated.effects.history.weighing import weigh


def _go_on() -> None:
    """Nothing keeps it from going on."""


class History:
    """The history at `path`, made anew where there is none. Thread-safe; one daemon at a time.

    Every method may raise UnavailableError (STATE_NOT_WRITABLE: disk full, read-only, failing) and HistoryDamagedError.

    Raises:
        RecordError: the file is no history (RECORD_CORRUPT) or of a newer schema (RECORD_NEWER); it is left as it is.
        UnavailableError: STATE_NOT_WRITABLE.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path)
        pins = Pins()
        contents = self._contents = Intake(self._database, pins)
        trees = self._trees = Trees(contents, pins)
        deployments = self._deployments = Deployments(self._database)
        self._heads = Heads(self._database, trees)
        self._journal = Journal(self._database, contents, trees, pins)
        self._recovery = Recovery(self._database, deployments, trees)
        self._requests = Requests(self._database)
        self._collection = Collection(self._database, contents, trees, deployments, pins)

    def share(self, environment: str, tree: Directory) -> None:
        """Have a tree that somebody keeps in memory stand for the equal one that is an environment's head: one of them is enough."""
        self._heads.share(environment, tree)
        self._trees.share(tree)

    def free_memory(self) -> None:
        """Let go of what is kept in memory of the file; it is read again when it is needed."""
        self._database.free_memory()

    def close(self) -> None:
        """Close the file. Nothing else may be called afterwards."""
        self._database.close()

    def put(self, digest: bytes, size: int, chunks: Iterable[bytes]) -> None:
        """Store a content; one that is there already stays. Ask `has` first: `chunks` is read in any case.

        Safe from a kill and a power cut from the next `commit` on, of whichever deployment.

        Raises:
            SourceMovedError: `chunks` gives something else than `size` bytes (SHA-256 `digest`).
        """
        self._contents.put(digest, size, chunks)

    def has(self, digest: bytes) -> bool:
        """Tell whether a content is stored; it stays then, until the deployment that asks has committed."""
        return self._contents.has(digest)

    def hold(self, digests: Iterable[bytes]) -> set[bytes]:
        """Return which of some contents are stored; they stay then, until the deployment that asks has committed."""
        return self._contents.hold(digests)

    def holds(self, digest: bytes) -> bool:
        """Tell whether a content is stored; it may go with the next collection."""
        return self._contents.stored(digest)

    def read(self, digest: bytes) -> Iterator[bytes]:
        """Return a content in pieces of at most a mebibyte; one larger than that is found wrong only at its end.

        Raises:
            HistoryDamagedError: it is missing or not what its digest says.
        """
        return self._contents.read(digest)

    def put_tree(self, tree: Directory) -> None:
        """Store a tree, of which only the nodes that are new are written."""
        self._trees.put(tree)

    def tree(self, digest: bytes) -> Directory:
        """Return a tree.

        Raises:
            HistoryDamagedError: a node of it is missing or not what its digest says.
        """
        return self._trees.read(digest)

    def make_sure_of_room(self, changes: Iterable[Change], result: Directory) -> dict[int, int]:
        """Find out whether there is room for what a deployment keeps, before anything of it is begun. An estimate.

        Args:
            changes: of its plan.
            result: what is managed afterwards.

        Returns:
            The bytes that it needs, by the device that they are needed on; nothing where that is too little to be asked about.

        Raises:
            DeploymentFailedError: NO_SPACE.
        """
        found = volume(changes, result)
        if is_little(found):
            return {}
        database = self._database

        def refine() -> int:
            with database.read() as sql:
                last = sql.execute("SELECT max(id) FROM contents").fetchone()[0]
            return without(found, self._contents.stored).need(leaves(last or 0), database.room_in_log())

        with explained(database.path):
            return check_room(database.path.parent, found, refine)

    def begin(
        self, environment: str, deployment_id: str, token: str, target: str, directories: Iterable[bytes]
    ) -> None:
        """Note that staging has begun: temporaries with `token` may lie in `directories`; synced where there are any."""
        self._journal.begin(environment, deployment_id, token, target, directories)

    def commit(self, intent: Intent, first: Callable[[], object] = at_once) -> None:
        """Commit to a deployment: synced, with everything that was put before.

        Args:
            intent: what is committed to.
            first: waits for what has to be on the disk before that; what it raises ends it, and nothing is committed to.

        Raises:
            AlreadyExistsError: it has committed already.
            HistoryDamagedError: CONTENT_MISSING, a content that it replaces or brings was not put.
            UnavailableError: it did not commit as far as is known; call `abandoned`.
        """
        self._journal.commit(intent, first)

    def applied(self, deployment_id: str, *, untidy: bool = False) -> None:
        """Note that the target has it all: the head moves, and the record is no longer kept here. Not synced.

        Args:
            deployment_id: what was applied.
            untidy: something of it could not be removed there; until `tidied` it is among what is `unfinished`.

        Raises:
            NotFoundError: it never committed.
        """
        if moved := self._journal.applied(deployment_id, untidy=untidy):
            self._heads.moved(*moved)

    def untidy(self, environment: str, tokens: Iterable[str]) -> bool:
        """Note that something is left at the target of what was applied under these tokens; tell whether any was. Not synced."""
        return self._journal.untidy(environment, tokens)

    def tidied(self, deployment_id: str) -> None:
        """Note that nothing is left at the target of what was applied that should not be. Not synced."""
        self._journal.tidied(deployment_id)

    def abandoned(self, deployment_id: str) -> None:
        """Note that the target is as it was before. Not synced."""
        self._journal.abandoned(deployment_id)

    def adopt(self, environment: str, managed: Directory, sequence: int, deployment_id: str = "") -> None:
        """Move the head without a change at the target; synced.

        With a `deployment_id`, that deployment counts as applied: it can be rolled back, and changes nothing.
        """
        self._heads.moved(*self._journal.adopt(environment, managed, sequence, deployment_id))

    def head(self, environment: str) -> Head | None:
        """Return an environment's head, None where nothing was deployed yet."""
        return self._heads.get(environment)

    def forget(self, environment: str) -> None:
        """Drop an environment's head and all that is unfinished in it; synced. What was deployed stays until collected."""
        self._journal.forget(environment)
        self._heads.dropped(environment)

    def unfinished(self) -> list[Unfinished]:
        """Return every deployment that was under way when the daemon ended, or is untidy. One that is damaged harms no other."""
        return self._recovery.unfinished()

    def changes(self, deployment_id: str) -> tuple[Change, ...]:
        """Return what a committed deployment changes.

        Raises:
            NotFoundError: HISTORY_COLLECTED.
        """
        return self._deployments.changes(deployment_id)

    def managed(self, deployment_id: str, like: Directory = EMPTY) -> tuple[Directory, Directory]:
        """Return the managed trees before and after a committed deployment.

        Args:
            deployment_id: the deployment.
            like: what is managed now, say; what is the same in it is not read.

        Raises:
            NotFoundError: HISTORY_COLLECTED.
        """
        before, after = self._deployments.managed(deployment_id)
        return self._trees.read(before, like), self._trees.read(after, like)

    def applied_ids(self, environment: str, since_sequence: int) -> list[tuple[int, str]]:
        """Return (sequence, id) of every applied deployment from that sequence on, ascending."""
        return self._deployments.applied_ids(environment, since_sequence)

    def remember_request(self, request_id: str, kind: str, fingerprint: str, answer: str) -> None:
        """Note the answer to a request; the first one stands. The oldest beyond 10,000 are dropped."""
        self._requests.remember(request_id, kind, fingerprint, answer)

    def recall_request(self, request_id: str) -> tuple[str, str, str] | None:
        """Return (kind, fingerprint, answer) of a request, None where there was none."""
        return self._requests.recall(request_id)

    def finished(self) -> list[Finished]:
        """Return every deployment that is through, of each environment the newest first."""
        return self._deployments.finished()

    def verify(self, now_and_then: Callable[[], None] = _go_on) -> list[str]:
        """Hash every content anew and read every tree and deployment; returns one line for each damage.

        Args:
            now_and_then: called every so often; what it raises ends it.
        """
        lines, wrong = inspect(self._database, now_and_then)
        self._contents.wrong |= wrong
        return lines

    def collect(
        self,
        keep: frozenset[str],
        *,
        among: frozenset[str] | None = None,
        now_and_then: Callable[[], None] = _go_on,
    ) -> Collected:
        """Drop finished deployments that are neither in `keep` nor a head, and what nobody refers to then.

        Args:
            keep: ids.
            among: drop no other than these; None: any. What finishes after `keep` was decided on is in neither.
            now_and_then: called every so often; what it raises ends it, what was removed until then is gone.

        Raises:
            HistoryDamagedError: something that is kept cannot be read; nothing was removed.
        """
        return self._collection.run(keep, among, now_and_then)

    def weigh(
        self, deployment_ids: Iterable[str], now_and_then: Callable[[], None] = _go_on
    ) -> tuple[int, dict[str, int]]:
        """Return the bytes that heads need, and for each deployment those that it needs and none before it in the list.

        Args:
            deployment_ids: the newest first, as those are dropped last.
            now_and_then: called every so often; what it raises ends it.
        """
        return weigh(self._database, deployment_ids, now_and_then)

    def size(self) -> int:
        """Return how many bytes the file has."""
        return self._collection.size()
