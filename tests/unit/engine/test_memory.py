"""What large deployments take of memory is given back when they were made."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headgated import ConfigurationDeployer
from headgated.core.tree import directories_in
from headgated.engine import deploying
from headgated.engine.runtime import Runtime
from headgated.engine.syncing import MANY_PATHS, Syncing


@pytest.fixture
def given_back(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Grows whenever memory is given back."""
    times: list[bool] = []
    monkeypatch.setattr(deploying, "give_back", lambda: times.append(True))
    return times


class Looking:
    """Looks at the source of an environment, and deploys it."""

    def __init__(self, deployer: ConfigurationDeployer) -> None:
        (self._source,) = deployer.sources.all()
        self._deployer, self.runtime = deployer, deployer.runtime("web")
        self._sync = Syncing(
            deployer.environments, deployer.planning, deployer.deploying, deployer.ledger, lambda _name: None
        )

    def __call__(self, *names: bytes) -> Runtime:
        """Look once, at these names or at all; returns how the environment stands."""
        source = self._deployer.sources.get(self._source)
        assert source is not None
        source.mark(frozenset(names) or None)
        self._sync.sync(self.runtime)
        return self.runtime


@contextmanager
def syncing(home: Path, variables: dict[str, str]) -> Iterator[Looking]:
    """Give what looks at `home/source` and deploys it to `home/target`."""
    with ConfigurationDeployer(home / "state") as deployer:
        if not deployer.list_environments():
            deployer.create_environment(
                "web", "testing", home / "target", variables, sources=[home / "source"], auto_sync=True
            )
        yield Looking(deployer)


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
        last = look(b"1.txt").last
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
        look(b"one more.txt")
        assert given_back == [True]
        (source / "another.txt").write_bytes(b"")
        look(b"another.txt")
        assert given_back == [True]


def test_what_is_deployed_and_what_is_wanted_are_one_tree_after_a_start(tmp_path: Path) -> None:
    (tmp_path / "source/d").mkdir(parents=True)
    (tmp_path / "source/d/a.txt").write_bytes(b"a")
    with syncing(tmp_path, {}) as look:
        look()
    with syncing(tmp_path, {}) as look:
        read = [weakref.ref(directory) for directory in directories_in(look.runtime.managed)]
        wanted = look().wanted
        assert wanted is not None
        gc.collect()
        assert len(read) == 2
        assert all(directory() is None for directory in read)
        assert look.runtime.managed is wanted._last[1]
