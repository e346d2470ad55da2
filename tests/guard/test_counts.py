"""One changed file costs what the table `bounds.toml` allows, and hardly more in a larger tree."""

from __future__ import annotations

import os
import shutil
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields
from pathlib import Path

import pytest
from tests.guard.counting import Cost, cost_of_one_change, in_memory

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(300),  # on a machine that is busy with other things
    pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed"),
]

TABLE = Path(__file__).with_name("bounds.toml")
SMALL = 1_000
LARGE = int(os.environ.get("HEADGATE_GUARD_FILES") or 10_000)
"""As many as can be deployed in a few seconds; `make bench` counts at 100,000."""
WIDE = 20
"""Files to a directory of the large tree: so many directories are in its root that it is kept in parts (`core.divided`)."""
NAMES = [field.name for field in fields(Cost)]


@pytest.fixture(scope="module")
def costs() -> dict[int, dict[str, int]]:
    """What one change costs among few and among many files."""
    with ThreadPoolExecutor() as pool:
        try:
            small = pool.submit(cost_of_one_change, SMALL, in_memory())
            large = pool.submit(cost_of_one_change, LARGE, in_memory(), WIDE)
            counted = (small.result(), large.result())
        except PermissionError as error:
            pytest.skip(f"strace may not attach here: {error}")
    return dict(zip((SMALL, LARGE), map(asdict, counted), strict=True))


@pytest.fixture(scope="module")
def bounds() -> dict[str, dict[str, int]]:
    """The table."""
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_one_change_costs_what_the_table_allows(
    costs: dict[int, dict[str, int]], bounds: dict[str, dict[str, int]], name: str
) -> None:
    found, most = costs[SMALL][name], bounds["one_change_among_1_000"][name]
    assert found <= most, (
        f"one changed file among {SMALL:,} costs {found:,} {name}, and {most:,} are allowed. See what they are: "
        f"python -m tests.guard.counting {SMALL}. If they are worth it, raise the bound in {TABLE.name} and say why in the commit."
    )


@pytest.mark.parametrize("name", NAMES)
def test_one_change_costs_the_same_in_a_larger_tree(
    costs: dict[int, dict[str, int]], bounds: dict[str, dict[str, int]], name: str
) -> None:
    few, many, most = costs[SMALL][name], costs[LARGE][name], bounds["more_in_a_larger_tree"][name]
    assert many - few <= most, (
        f"one changed file costs {few:,} {name} among {SMALL:,} files and {many:,} among {LARGE:,}; {most:,} more are allowed. "
        f"Something looks at the whole tree: compare python -m tests.guard.counting {SMALL} with {LARGE} {WIDE}."
    )


def test_table_bounds_everything_that_is_counted(bounds: dict[str, dict[str, int]]) -> None:
    assert all(sorted(table) == sorted(NAMES) for table in bounds.values())
