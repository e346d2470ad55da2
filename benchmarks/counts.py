"""Benchmark 8: counts instead of times: what one changed file costs, by size of the tree. The guard of the tests, at full size."""

from __future__ import annotations

from dataclasses import asdict

from tests.guard.counting import cost_of_one_change

from benchmarks import machine
from benchmarks.result import Result, Table
from benchmarks.setting import Setting

TITLE = "Counts: what one changed file costs, whatever the machine's mood"
HOW = """\
Calls that the daemon makes of the system for one changed file, record and all, as strace sees them (without those that wait or allocate); syncs until the
new file has its name, and in all; bytes written to history; statements that SQLite carries out; memory taken at once. Of five changes the least but one. The tests
compare the same counts with `tests/guard/bounds.toml`."""


def run(setting: Setting) -> Result:
    """Count at each size."""
    result = Result("counts", TITLE, HOW, missing=machine.without("strace"))
    if result.missing:
        return result
    sizes = (1_000, 2_000) if setting.quick else (1_000, max(2_000, setting.most))
    costs = {}
    for size in sizes:
        setting.say(f"counts: {size:,} files")
        costs[size] = asdict(cost_of_one_change(size))
    table = Table("One changed file", ["", *(f"among {size:,}" for size in sizes)])
    for name in costs[sizes[0]]:
        table.row(name.replace("_", " "), *(f"{costs[size][name]:,}" for size in sizes))
    result.tables.append(table)
    few, many = (costs[size]["system_calls"] for size in sizes)
    result.goal(f"system calls for one change among {sizes[1]:,} files / {sizes[0]:,}", many / few, 1.2)
    result.goal("syncs before the new bytes appear", costs[sizes[1]]["syncs_before_bytes"], 2, "")
    return result
