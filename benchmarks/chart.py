"""Line charts as SVG, legible on light and dark pages: nothing but text and lines, and no library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

_WIDTH, _HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 20, 40, 70
_TICKS = 5
# Distinguishable for the colour-blind (Okabe and Ito).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
_STYLE = "text{font:12px sans-serif;fill:#777}.title{font-weight:bold}.grid{stroke:#777;stroke-opacity:.3}"


class Line(NamedTuple):
    """A line and its points, in the order of x."""

    name: str
    points: Sequence[tuple[float, float]]


def chart(title: str, x_name: str, lines: Sequence[Line]) -> str:
    """The lines over axes that begin at 0, as an SVG document."""
    most_x = _round_up(max(x for line in lines for x, _ in line.points))
    most_y = _round_up(max(y for line in lines for _, y in line.points))
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def at(x: float, y: float) -> tuple[float, float]:
        return _LEFT + width * x / most_x, _TOP + height * (1 - y / most_y)

    parts = [f'<text class="title" x="{_LEFT}" y="20">{escape(title)}</text>']
    for tick in range(_TICKS + 1):
        x, y = most_x * tick / _TICKS, most_y * tick / _TICKS
        (across, bottom), (left, up) = at(x, 0), at(0, y)
        parts += [
            f'<line class="grid" x1="{left:g}" y1="{up:.1f}" x2="{_WIDTH - _RIGHT}" y2="{up:.1f}"/>',
            f'<text x="{left - 6:g}" y="{up + 4:.1f}" text-anchor="end">{y:,g}</text>',
            f'<text x="{across:.1f}" y="{bottom + 18:g}" text-anchor="middle">{x:,g}</text>',
        ]
    parts.append(f'<text x="{_LEFT + width / 2:g}" y="{_HEIGHT - 32}" text-anchor="middle">{escape(x_name)}</text>')
    for number, line in enumerate(lines):
        colour = _COLOURS[number % len(_COLOURS)]
        pen = f'fill="none" stroke="{colour}" stroke-width="2"'
        places = [at(*point) for point in line.points]
        corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        key = _LEFT + number * width / len(lines)
        parts += [
            f'<polyline {pen} points="{corners}"/>',
            f'<polyline {pen} points="{key:g},{_HEIGHT - 14} {key + 16:g},{_HEIGHT - 14}"/>',
            f'<text x="{key + 22:g}" y="{_HEIGHT - 10}">{escape(line.name)}</text>',
        ]
        if len(places) <= _TICKS:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def _round_up(value: float) -> float:
    """The next number of one digit and zeros, or with a half of it, so that ticks are round."""
    if value <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(step * unit for step in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if step * unit >= value)
