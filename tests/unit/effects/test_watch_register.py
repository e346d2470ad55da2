from __future__ import annotations

from headgated.effects.watch.register import Register


def test_other_attributes_are_told_and_equal_ones_are_kept_once() -> None:
    register = Register()
    attributes = [(int("40755", 8), int("100000"), int("100000")) for _ in range(3)]
    assert register.differs(b"a", attributes[0])
    assert register.differs(b"b", attributes[1])
    assert not register.differs(b"a", attributes[2])
    assert register.differs(b"b", (0o40700, 0, 0))
    assert register.differs(b"b", attributes[2])
    assert register._attributes[b"a"] is register._attributes[b"b"]
