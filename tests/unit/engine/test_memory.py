"""What large deployments take of memory is given back when they were made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headgated import ConfigurationDeployer
from headgated.engine import deploying
from headgated.engine.runtime import Runtime
from headgated.engine.syncing import MANY_PATHS, Syncing


@pytest.fixture
def given_back(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Grows whenever memory is given back."""
    times: list[bool] = []
    monkeypatch.setattr(deploying, "give_back", lambda: times.append(True))
    return times


@contextmanager
def syncing(home: Path, variables: dict[str, str]) -> Iterator[Callable[[], Runtime]]:
    """Give what looks at `home/source` and deploys it to `home/target`, and returns how it stands."""
    with ConfigurationDeployer(home / "state") as deployer:
        if not deployer.list_environments():
            deployer.create_environment(
                "web", "testing", home / "target", variables, sources=[home / "source"], auto_sync=True
            )
        sync = Syncing(
            deployer.environments, deployer.planning, deployer.deploying, deployer.ledger, lambda _name: None
        )

        def look() -> Runtime:
            watched = deployer.sources.get(str(home / "source"))
            assert watched is not None
            watched.mark(None)
            sync.sync(deployer.runtime("web"))
            return deployer.runtime("web")

        yield look


@pytest.mark.parametrize(("variables", "line"), [({}, b"plain\n"), ({"V": "1"}, b"${V}\n")])
def test_memory_is_given_back_after_many_contents_and_only_then(
    tmp_path: Path, given_back: list[bool], variables: dict[str, str], line: bytes
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(100):
        (source / f"{number}.txt").write_bytes(line + b"%d" % number * 20_000)
    with syncing(tmp_path, variables) as look:
        last = look().last
        assert last is not None
        assert last.changes.added_count == 100
        assert given_back == [True]
        (source / "1.txt").write_bytes(line)
        last = look().last
        assert last is not None
        assert last.changes.modified_count == 1
        assert given_back == [True]


def test_memory_is_given_back_after_many_paths_however_small(tmp_path: Path, given_back: list[bool]) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(MANY_PATHS - 1):
        (source / f"{number}.txt").write_bytes(b"")
    with syncing(tmp_path, {}) as look:
        look()
        assert given_back == []
        (source / "one more.txt").write_bytes(b"")
        look()
        assert given_back == [True]
        (source / "another.txt").write_bytes(b"")
        look()
        assert given_back == [True]


def test_what_is_deployed_and_what_is_wanted_are_one_tree_after_a_start(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.txt").write_bytes(b"a")
    with syncing(tmp_path, {}) as look:
        look()
    with syncing(tmp_path, {}) as look:
        runtime = look()
        assert runtime.wanted is not None
        assert runtime.managed.children[b"a.txt"] is runtime.wanted._last[1].children[b"a.txt"]
