"""What history must not lose yet."""

from __future__ import annotations

import tracemalloc

from headgated.effects.history.pins import Pins

MANY = [b"%032d" % number for number in range(2000)]


def test_room_of_many_pins_is_given_back_with_the_last() -> None:
    tracemalloc.start()
    try:
        pins = Pins()
        pins.begin("web", "deploy_1")
        pins.update(MANY)
        assert MANY[0] in pins
        pins.end("web", MANY)
        assert MANY[0] not in pins
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken < 8 * len(MANY)
