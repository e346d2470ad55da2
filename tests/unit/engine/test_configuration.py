"""A configuration that is wrong leaves the one in force, and says everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest

from headgated.core.config import Settings, parse
from headgated.core.errors import RefusedError
from headgated.engine.configuration import Configuration
from headgated.engine.views import Problem

T = TypeVar("T")


async def run(function: Callable[..., T], *args: object) -> T:
    return function(*args)


async def test_every_fault_of_the_file_is_told_by_itself() -> None:
    problems: list[Problem] = []
    present = Settings()
    text = "[roots]\ntargets = 3\n[limits]\nfiles = 1\n"
    configuration = Configuration(present, lambda: parse(text), problems)
    with pytest.raises(RefusedError, match="cannot take the configuration over: line 2: roots") as refused:
        await configuration.reload(run)
    assert refused.value.reason == "CONFIG_REJECTED"
    assert [fault.field for fault in refused.value.faults] == [
        "line 2: roots.targets",
        "line 4: limits.files",
    ]
    assert [problem.reason for problem in problems] == ["CONFIG_REJECTED"]
    assert all(fault.message in problems[0].message for fault in refused.value.faults)
    assert configuration.present is present


async def test_file_that_cannot_be_read_has_no_single_faults() -> None:
    def read() -> Settings:
        raise RefusedError("cannot read it: no", paths=["/etc/it"])

    with pytest.raises(RefusedError, match="take the configuration over: cannot read it: no") as refused:
        await Configuration(Settings(), read, []).reload(run)
    assert (refused.value.faults, refused.value.paths) == ((), ("/etc/it",))
