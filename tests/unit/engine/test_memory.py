"""What contents take of memory is given back when they were deployed."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgated import ConfigurationDeployer
from headgated.engine import syncing
from headgated.engine.syncing import Syncing


@pytest.mark.parametrize(("variables", "line"), [({}, b"plain\n"), ({"V": "1"}, b"${V}\n")])
def test_memory_is_given_back_after_many_contents_and_only_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], line: bytes
) -> None:
    given_back: list[bool] = []
    monkeypatch.setattr(syncing, "give_back", lambda: given_back.append(True))
    source = tmp_path / "source"
    source.mkdir()
    for number in range(100):
        (source / f"{number}.txt").write_bytes(line + b"%d" % number * 20_000)
    with ConfigurationDeployer(tmp_path / "state") as deployer:
        deployer.create_environment(
            "web", "testing", tmp_path / "target", variables, sources=[source], auto_sync=True
        )
        sync = Syncing(
            deployer.environments, deployer.planning, deployer.deploying, deployer.ledger, lambda _name: None
        )
        runtime = deployer.runtime("web")
        sync.sync(runtime)
        assert runtime.last is not None
        assert runtime.last.changes.added_count == 100
        assert given_back == [True]
        (source / "1.txt").write_bytes(line)
        watched = deployer.sources.get(str(source))
        assert watched is not None
        watched.mark(frozenset({b"1.txt"}))
        sync.sync(runtime)
        assert runtime.last.changes.modified_count == 1
        assert given_back == [True]
