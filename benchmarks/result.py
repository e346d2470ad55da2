"""What a benchmark hands over: tables, plots, and how it stands to what is to be reached. Kept as JSON, printed, documented."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class Table:
    """Rows under a title; the first column names, the others hold figures as text."""

    title: str
    heads: list[str]
    rows: list[list[str]] = field(default_factory=list)

    def row(self, *cells: str) -> None:
        """Add a row."""
        self.rows.append(list(cells))


@dataclass
class Goal:
    """One figure to reach."""

    what: str
    wanted: str
    measured: str
    met: bool


@dataclass
class Line:
    """Points of one thing in a plot of lines."""

    name: str
    points: list[tuple[float, float]] = field(default_factory=list)


@dataclass
class Plot:
    """A picture. Lines: both axes logarithmic. Bars: one group for each name, logarithmic."""

    file: str
    title: str
    x: str
    y: str
    lines: list[Line]
    bars: list[str] = field(default_factory=list)
    """Names of the groups where it is one of bars; a line's point is then (index of the group, value)."""


@dataclass
class Result:
    """All that one run of one benchmark found."""

    name: str
    title: str
    how: str
    """What was measured and how, for readers."""
    tables: list[Table] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """Peers that are not installed, or would not start, and why."""
    quick: bool = False
    date: str = ""
    seconds: float = 0.0
    machine: str = ""

    def goal(self, what: str, measured: float, most: float, unit: str = "x") -> None:
        """Add a figure that must not be above `most`."""
        self.goals.append(
            Goal(what, f"<= {most:g} {unit}".strip(), f"{measured:.3g} {unit}".strip(), measured <= most)
        )

    def goal_least(self, what: str, measured: float, least: float, unit: str) -> None:
        """Add a figure that must not be below `least`."""
        self.goals.append(Goal(what, f">= {least:g} {unit}", f"{measured:.3g} {unit}", measured >= least))

    def save(self, directory: Path) -> None:
        """Keep it as JSON."""
        directory.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        (directory / f"{self.name}.json").write_text(text + "\n", encoding="utf-8")


def load(path: Path) -> Result:
    """Read a result that was saved."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw["tables"] = [Table(**each) for each in raw["tables"]]
    raw["goals"] = [Goal(**each) for each in raw["goals"]]
    for plot in raw["plots"]:
        plot["lines"] = [Line(one["name"], [tuple(p) for p in one["points"]]) for one in plot["lines"]]
    raw["plots"] = [Plot(**each) for each in raw["plots"]]
    return Result(**raw)
