"""Draws a `Plot` as SVG: lines on two logarithmic axes, or bars on one. Needs nothing but itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from benchmarks.figures import text
from benchmarks.result import Plot

WIDTH, HEIGHT = 860, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 230, 40, 60
COLOURS = ("#0b6e4f", "#d1495b", "#30638e", "#edae49", "#7b4b94", "#5c5c5c", "#00a6a6", "#a44a3f", "#8cb369")


def svg(plot: Plot) -> str:
    """Return the picture."""
    drawn = list(_bars(plot) if plot.bars else _lines(plot))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">'
    )
    background = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>'
    title = _text(LEFT, 22, plot.title, size=15)
    x_name = _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, plot.x, anchor="middle")
    y_name = (
        f'<g transform="translate(16 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)">'
        f"{_text(0, 0, plot.y, anchor='middle')}</g>"
    )
    return "\n".join([head, background, title, x_name, y_name, *drawn, *_legend(plot), "</svg>"]) + "\n"


class _Axis:
    """A logarithmic axis from `start` to `end` in pixels, over whole decades."""

    def __init__(self, values: list[float], start: float, end: float) -> None:
        self.low = math.floor(math.log10(min(values)))
        self.high = max(math.ceil(math.log10(max(values))), self.low + 1)
        self._start, self._step = start, (end - start) / (self.high - self.low)

    def __call__(self, value: float) -> float:
        return self._start + (math.log10(value) - self.low) * self._step

    def decades(self) -> Iterator[float]:
        """Yield the powers of ten."""
        return (10.0**power for power in range(self.low, self.high + 1))


def _points(plot: Plot) -> Iterator[tuple[float, float]]:
    return ((x, y) for line in plot.lines for x, y in line.points if y > 0)


def _lines(plot: Plot) -> Iterator[str]:
    x = _Axis([each[0] for each in _points(plot)], LEFT, WIDTH - RIGHT)
    y = _Axis([each[1] for each in _points(plot)], HEIGHT - BOTTOM, TOP)
    yield from _grid(y)
    for value in x.decades():
        yield _text(x(value), HEIGHT - BOTTOM + 18, f"{value:,.0f}", anchor="middle")
    for line, colour in zip(plot.lines, _colours(), strict=False):
        at = [(x(a), y(b)) for a, b in line.points if b > 0]
        yield (
            f'<polyline points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in at)}" fill="none" '
            f'stroke="{colour}" stroke-width="2"/>'
        )
        yield from (f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5" fill="{colour}"/>' for a, b in at)


def _bars(plot: Plot) -> Iterator[str]:
    y = _Axis([each[1] for each in _points(plot)], HEIGHT - BOTTOM, TOP)
    yield from _grid(y)
    group = (WIDTH - RIGHT - LEFT) / len(plot.bars)
    width = group * 0.85 / len(plot.lines)
    for index, name in enumerate(plot.bars):
        yield _text(LEFT + (index + 0.5) * group, HEIGHT - BOTTOM + 18, name, anchor="middle")
    for number, (line, colour) in enumerate(zip(plot.lines, _colours(), strict=False)):
        for at, value in line.points:
            if value > 0:
                left, top = LEFT + at * group + group * 0.075 + number * width, y(value)
                yield (
                    f'<rect x="{left:.1f}" y="{top:.1f}" width="{width * 0.92:.1f}" '
                    f'height="{HEIGHT - BOTTOM - top:.1f}" fill="{colour}">'
                    f"<title>{escape(line.name)}: {text(value)}</title></rect>"
                )


def _grid(y: _Axis) -> Iterator[str]:
    for value in y.decades():
        at = y(value)
        yield f'<line x1="{LEFT}" y1="{at:.1f}" x2="{WIDTH - RIGHT}" y2="{at:.1f}" stroke="#dddddd"/>'
        yield _text(LEFT - 8, at + 4, f"{value:,g}", anchor="end")


def _legend(plot: Plot) -> Iterator[str]:
    for index, (line, colour) in enumerate(zip(plot.lines, _colours(), strict=False)):
        at = TOP + 10 + index * 20
        yield f'<rect x="{WIDTH - RIGHT + 15}" y="{at - 9}" width="12" height="12" fill="{colour}"/>'
        yield _text(WIDTH - RIGHT + 33, at + 1, line.name)


def _colours() -> Iterator[str]:
    while True:
        yield from COLOURS


def _text(x: float, y: float, words: str, *, size: int = 12, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}">{escape(words)}</text>'
