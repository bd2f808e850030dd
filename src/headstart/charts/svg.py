"""Elements of SVG pictures, and round numbers for their axes."""

from __future__ import annotations

import math
from html import escape


def line(name: str, x1: float, y1: float, x2: float, y2: float) -> str:
    """Return a line; ``name`` is its class for style sheets."""
    return f'<line class="{name}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def rectangle(name: str, left: float, top: float, width: float, height: float) -> str:
    """Return a rectangle; ``name`` is its class for style sheets."""
    return f'<rect class="{name}" x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"/>'


def circle(name: str, x: float, y: float, radius: float) -> str:
    """Return a circle; ``name`` is its class for style sheets."""
    return f'<circle class="{name}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"/>'


def text(x: float, y: float, content: str, name: str, *, anchor: str) -> str:
    """Return a text, escaped; ``anchor`` is ``start``, ``middle`` or ``end``."""
    return f'<text class="{name}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(content)}</text>'


def ticks(low: float, high: float) -> list[float]:
    """Return round numbers, of which the first and the last enclose a range."""
    spread = max(high - low, 1e-3 * max(abs(high), abs(low)), 1e-9)
    power = 10 ** math.floor(math.log10(spread / 4))
    step = next(digit * power for digit in (1, 2, 5, 10) if spread / (digit * power) <= 6)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]
