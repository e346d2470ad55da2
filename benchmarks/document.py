"""Writes what was found: as text for the terminal, as Markdown and SVG for docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks.plot import svg
from benchmarks.result import Goal, Result, Table

HEAD = """\
# Performance

How fast Headgate is, beside the physical limit (C programs that do the least possible, in `benchmarks/limits/`) and beside the tools
that people use today. `make bench` measures it all and writes this page (`make bench QUICK=1` in minutes at small sizes,
`make bench ONLY=latency` one part of it); what it found last is kept in `benchmarks/results/`.

The machine is shared and noisy, so only what was measured in one run, interleaved, is compared: **read the ratios, not the milliseconds**. Figures
are medians and 99th percentiles. Contents were checked at every target. Headgate ran as its users run it: the real daemon as a process of its own, through
its door and client, with its defaults; where settle is set to 0 it says so. What keeps a change from creeping in that makes the usual path
slower without anybody's noticing is not this page but the guard: `tests/guard/` counts calls, syncs, queries and bytes on each run of the tests.
"""


def terminal(result: Result) -> str:
    """Return a result as text."""
    parts = [f"\n{result.title}", *(f"  ({why})" for why in result.missing)]
    parts += ["\n" + "\n".join(_aligned(table)) for table in result.tables]
    if result.goals:
        parts.append("\nto reach:")
        parts += [
            f"  {_met(goal):7} {goal.what}: {goal.measured} (wanted {goal.wanted})" for goal in result.goals
        ]
    return "\n".join(parts)


def write(results: Sequence[Result], document: Path) -> None:
    """Write the document, and its plots into a directory of its name."""
    pictures = document.with_suffix("")
    pictures.mkdir(parents=True, exist_ok=True)
    for plot in (plot for result in results for plot in result.plots):
        (pictures / plot.file).write_text(svg(plot), encoding="utf-8")
    parts = [HEAD, *_summary(results)]
    for result in results:
        parts += _section(result, pictures.name)
    document.write_text("\n".join(parts).rstrip() + "\n", encoding="utf-8")


def _summary(results: Iterable[Result]) -> Iterator[str]:
    goals = [goal for result in results for goal in result.goals]
    met = sum(goal.met for goal in goals)
    yield f"## What is to be reached\n\n{met} of {len(goals)} are met in the runs below.\n"
    yield "| | wanted | measured | |\n|---|---|---|---|"
    yield "\n".join(f"| {g.what} | {g.wanted} | {g.measured} | {_met(g)} |" for g in goals) + "\n"


def _section(result: Result, pictures: str) -> Iterator[str]:
    yield f"## {result.title}\n"
    mode = "quick run (small sizes, few rounds)" if result.quick else "full run"
    yield f"{result.how}\n"
    yield f"*{result.date}, {mode}, {result.seconds:.0f} s. {result.machine}.*\n"
    for missing in result.missing:
        yield f"Not measured: {missing}.\n"
    for table in result.tables:
        yield f"**{table.title}**\n"
        yield f"| {' | '.join(table.heads)} |\n|---{'|---:' * (len(table.heads) - 1)}|"
        yield "\n".join(f"| {' | '.join(row)} |" for row in table.rows) + "\n"
    for plot in result.plots:
        yield f"![{plot.title}]({pictures}/{plot.file})\n"
    for remark in result.remarks:
        yield f"- {remark}"
    if result.remarks:
        yield ""


def _met(goal: Goal) -> str:
    return "met" if goal.met else "NOT MET"


def _aligned(table: Table) -> Iterator[str]:
    yield table.title
    rows = [table.heads, *table.rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.heads))]
    for row in rows:
        first, *others = row
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        yield "  " + "  ".join([first.ljust(widths[0]), *cells])
