"""Samples and what is said of them: medians, 99th percentiles, ratios. Nothing here is measured."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable


class Samples:
    """Measured values by name, each in the unit that its benchmark names."""

    def __init__(self) -> None:
        self._values: defaultdict[str, list[float]] = defaultdict(list)

    def add(self, name: str, *values: float) -> None:
        """Note what was measured of `name`."""
        self._values[name].extend(values)

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def count(self, name: str) -> int:
        """Return how often `name` was measured."""
        return len(self._values.get(name, ()))

    def median(self, name: str) -> float:
        """Return the median; not a number where nothing was measured."""
        return statistics.median(self._values[name]) if self._values.get(name) else math.nan

    def p99(self, name: str) -> float:
        """Return the value that 99 of 100 do not exceed (nearest rank)."""
        return percentile(self._values.get(name, ()), 99)

    def ratio(self, name: str, to: str) -> float:
        """Return the ratio of two medians."""
        return self.median(name) / self.median(to)


def percentile(values: Iterable[float], of: float) -> float:
    """Return the nearest-rank percentile; not a number where there are no values."""
    ordered = sorted(values)
    return ordered[math.ceil(of / 100 * len(ordered)) - 1] if ordered else math.nan


def text(value: float) -> str:
    """Write a figure with three digits that count, a dash where there is none."""
    if math.isnan(value):
        return "-"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
