"""The socket outlives the daemon: whoever calls while it restarts or after it was killed waits a moment, and is answered."""

from __future__ import annotations

import os
import random
import sys
import time
from functools import partial

import pytest
from tests.e2e.harness import eventually
from tests.systemd.site import Site
from tests.systemd.storm import Storm

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.e2e]
RESTARTS = int(os.environ.get("HEADGATE_TORTURE", "6"))
KILLS = int(os.environ.get("HEADGATE_TORTURE", "4"))


@pytest.mark.torture
@pytest.mark.timeout(300 + 10 * RESTARTS)
def test_restarts_fail_no_call(site: Site) -> None:
    with Storm(site) as storm:
        for _ in range(RESTARTS):
            site.machine.systemctl("restart", "headgated.service")
            answered = storm.answered + 4
            eventually(lambda: storm.answered > answered or storm.failures, what="calls to be answered")  # noqa: B023
    assert (storm.failures, storm.lost) == ([], [])
    tell(f"{RESTARTS} restarts", storm)


@pytest.mark.torture
@pytest.mark.timeout(300 + 10 * KILLS)
def test_kills_refuse_and_lose_no_call(site: Site) -> None:
    """Killed at any moment, also while it starts; `make torture` does it a thousand times."""
    dice = random.Random(6)
    before, victim, unheard = int(site.machine.show("NRestarts")), 0, 0
    with Storm(site) as storm:
        for _ in range(KILLS):
            killed = victim
            while killed in (0, victim):
                killed = eventually(site.machine.kill, within=30, what="the daemon to be back")
            victim = killed
            # Twice in a row while it starts at most: a daemon that never comes up answers nobody, whoever owns the socket.
            unheard = unheard + 1 if unheard < 2 and dice.random() < 0.5 else 0
            if not unheard:
                everybody = partial(storm.everybody_answered, storm.answers.copy())
                eventually(everybody, within=60, what="everybody to be answered")
            time.sleep(dice.uniform(0, 0.5))  # A random moment is the point here.
        site.machine.wait_until("active")
    assert (storm.failures, storm.lost) == ([], [])
    assert int(site.machine.show("NRestarts")) >= before + KILLS
    tell(f"{KILLS} kills", storm)


def tell(what: str, storm: Storm) -> None:
    """Print the figures, for docs/reliability.md."""
    sys.stderr.write(
        f"\n{what}: {storm.answered} calls answered ({storm.written} of them wrote), {storm.knocks} connections, 0 refused, 0 lost;"
        f" the slowest call took {storm.slowest:.1f} s\n"
    )
