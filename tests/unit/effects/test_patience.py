from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable

from headgated.effects.patience import patient_threads

_PR_GET_TIMERSLACK = 30


def slack(found: list[int]) -> Callable[[], None]:
    """Return what notes the slack of the thread that it runs in, in nanoseconds."""
    return lambda: found.append(ctypes.CDLL(None).prctl(_PR_GET_TIMERSLACK, 0, 0, 0, 0))


def in_a_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_threads_made_inside_have_slack_and_so_have_theirs() -> None:
    found: list[int] = []
    with patient_threads(0.25):
        in_a_thread(slack(found))
        in_a_thread(lambda: in_a_thread(slack(found)))
    assert found == [250_000_000, 250_000_000]


def test_who_makes_them_is_as_punctual_as_before_and_so_are_later_ones() -> None:
    found: list[int] = []
    slack(found)()
    with patient_threads(0.25):
        pass
    slack(found)()
    in_a_thread(slack(found))
    assert len(set(found)) == 1
    assert found[0] < 250_000_000
