"""A program to be killed: deploys to a history without end, and says on standard output what was promised to it.

`C n` after deployment n has committed, `A n` after it was applied.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.unit.effects.past import commit

from headgated.core.tree import EMPTY
from headgated.effects.history import History


def wanted(n: int) -> dict[bytes, bytes | None]:
    """What deployment n brings."""
    files: dict[bytes, bytes | None] = {b"d%d/f" % (n % 5): b"content %d" % n * 300, b"g": b"%d" % n}
    files[b"d%d/f" % ((n + 1) % 5)] = None
    if n % 7 == 0:
        files[b"large"] = b"%08d" % n * 200_000
    return files


def main() -> None:
    history = History(Path(sys.argv[1]))
    head = history.head("prod")
    managed, n = (EMPTY, 0) if head is None else (head.managed, head.sequence)
    while True:
        n += 1
        committed = commit(history, f"deploy_prod_{n}", managed, wanted(n), sequence=n)
        sys.stdout.write(f"C {n}\n")
        sys.stdout.flush()
        history.applied(f"deploy_prod_{n}")
        sys.stdout.write(f"A {n}\n")
        sys.stdout.flush()
        managed = committed.managed_after
        if n % 20 == 0:
            history.collect(frozenset(f"deploy_prod_{at}" for at in range(n - 10, n)))


if __name__ == "__main__":
    main()
