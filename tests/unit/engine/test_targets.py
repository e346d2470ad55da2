"""What is watched as a target, as a source, or as both."""

from __future__ import annotations

from headgated.engine.targets import Watching


def test_target_is_watched_and_followed_when_it_moves() -> None:
    told: list[tuple[str, str]] = []
    watching = Watching(lambda root: told.append(("watch", root)), lambda root: told.append(("end", root)))
    assert watching.follow("web", "/t")
    assert not watching.follow("web", "/t")
    assert watching.at("/t") == ["web"]
    assert watching.follow("web", "/new")
    assert told == [("watch", "/t"), ("watch", "/new"), ("end", "/t")]
    assert (watching.at("/t"), watching.at("/new")) == ([], ["web"])
    assert watching.follow("web", None)
    assert not watching.follow("web", None)
    assert told[-1] == ("end", "/new")


def test_directory_is_watched_as_long_as_anybody_asks() -> None:
    """A target that was made a source before the two were compared."""
    told: list[tuple[str, str]] = []
    watching = Watching(lambda root: told.append(("watch", root)), lambda root: told.append(("end", root)))
    watching.add("/d")
    watching.follow("web", "/d")
    watching.remove("/d")
    assert told == [("watch", "/d")]
    watching.follow("web", None)
    assert told == [("watch", "/d"), ("end", "/d")]
