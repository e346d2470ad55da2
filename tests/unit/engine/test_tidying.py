"""History is collected by itself, and what keeps it from that is told."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from headgated import ConfigurationDeployer, EnvironmentType
from headgated.core.config import RetentionSettings, Settings
from headgated.engine.tidying import REASON, Tidying

LIMIT = 10.0


async def until(holds: Callable[[], bool]) -> None:
    deadline = asyncio.get_running_loop().time() + LIMIT
    while not holds():
        assert asyncio.get_running_loop().time() < deadline, "it did not come to pass"
        await asyncio.sleep(0.005)


def overwrite(path: Path, digest: bytes, content: bytes) -> bytes:
    """Write a content over what is stored under a digest; return what was there."""
    with sqlite3.connect(path) as sql:
        (before,) = sql.execute("SELECT content FROM contents WHERE digest = ?", (digest,)).fetchone()
        sql.execute("UPDATE contents SET content = ? WHERE digest = ?", (content, digest))
    sql.close()
    return bytes(before)


async def test_history_is_collected_and_what_keeps_it_from_that_is_told_until_it_is_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    settings = Settings(retention=RetentionSettings(count=1))
    with ConfigurationDeployer(tmp_path / "state", settings=settings) as deployer:
        deployer.create_environment("web", EnvironmentType.TESTING, tmp_path / "target", sources=[source])
        for n in range(3):
            (source / "a").write_text(f"{n}\n")
            deployer.deploy_configuration("web")
        head = deployer.history.head("web")
        assert head is not None
        path = tmp_path / "state" / "history.db"
        was = overwrite(path, head.managed.digest, b"damaged")
        tidying = Tidying(deployer.housekeeping, asyncio.to_thread, 0.01, deployer.problems)
        tidying.start()
        await until(lambda: bool(deployer.problems))
        problem = deployer.problems[0]
        assert problem.reason == REASON
        assert "history is not collected" in problem.message
        assert len(deployer.history.applied_ids("web", 0)) == 3, (
            "nothing goes where something kept is damaged"
        )
        overwrite(path, head.managed.digest, was)
        await until(lambda: len(deployer.history.applied_ids("web", 0)) == 2)
        await until(lambda: not deployer.problems)
        await tidying.stop()
        assert caplog.text.count("history is not collected") == 1, "said once"
