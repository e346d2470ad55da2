"""Events as bytes: made once for all who watch, never another event's."""

from __future__ import annotations

from headgate.v1 import environment_pb2 as wire
from headgated.api.encoded import KEPT, Answers, Encoded

SNAPSHOT = wire.WATCH_EVENT_KIND_SNAPSHOT
UPDATED = wire.WATCH_EVENT_KIND_UPDATED
DELETED = wire.WATCH_EVENT_KIND_DELETED


class Counted:
    """Makes messages, and counts them."""

    def __init__(self) -> None:
        self.made = 0
        self.events = Encoded(self.make)

    def make(
        self, revision: int, kind: wire.WatchEventKind.ValueType, value: list[str] | None
    ) -> wire.WatchEnvironmentsResponse:
        self.made += 1
        name = value[0] if value else ""
        return wire.WatchEnvironmentsResponse(
            revision=revision, kind=kind, environment=wire.Environment(name=name)
        )


def read(raw: bytes) -> tuple[int, int, str]:
    message = wire.WatchEnvironmentsResponse.FromString(raw)
    return message.revision, message.kind, message.environment.name


def test_event_is_made_once_for_all_who_watch() -> None:
    counted, value = Counted(), ["a"]
    for _ in range(1000):
        assert read(counted.events.of(5, UPDATED, value)) == (5, UPDATED, "a")
    assert counted.made == 1


def test_what_differs_is_made_for_itself() -> None:
    counted, value = Counted(), ["a"]
    counted.events.of(5, UPDATED, value)
    assert read(counted.events.of(5, UPDATED, ["b"])) == (5, UPDATED, "b")
    assert read(counted.events.of(5, DELETED, value)) == (5, DELETED, "a")
    assert read(counted.events.of(6, UPDATED, value)) == (6, UPDATED, "a")


def test_beginning_of_a_stream_is_not_kept() -> None:
    counted = Counted()
    for name in ("a", "b", "a"):
        assert read(counted.events.of(5, SNAPSHOT, [name])) == (5, SNAPSHOT, name)
    assert counted.made == 3
    assert not counted.events._kept


def test_only_the_newest_are_kept() -> None:
    counted = Counted()
    for revision in range(KEPT * 3):
        counted.events.of(revision, UPDATED, ["a"])
    assert len(counted.events._kept) == KEPT


def test_answer_is_made_once_while_what_it_tells_of_is_the_same() -> None:
    made: list[str] = []

    def make(value: list[str]) -> wire.Environment:
        made.append(value[0])
        return wire.Environment(name=value[0])

    answers, one = Answers(make), ["a"]
    for _ in range(100):
        assert wire.Environment.FromString(answers.of("x", one)).name == "a"
    assert wire.Environment.FromString(answers.of("x", ["b"])).name == "b"
    assert wire.Environment.FromString(answers.of("y", one)).name == "a"
    assert made == ["a", "b", "a"]
    for number in range(KEPT * 2):
        answers.of(str(number), one)
    assert len(answers._kept) == KEPT
