"""Draw which part of the code imports which: ``python -m scripts.draw_house`` writes ``docs/house.svg``.

The picture shows the imports as ``tests/test_layers.py`` reads them. Each box is a file or folder of
``src/headstart``. A line goes down from a box to each box that it imports, unless another of its lines leads
there. The files at the very bottom import only each other, almost everything imports them, and no lines lead
to them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from tests.test_layers import FILES, GROUND_FLOOR, HOUSE, SOURCE, UPPER_FLOOR, imports, modules_of, place_of

PICTURE: Final = Path(__file__).parents[1] / "docs" / "house.svg"

_WIDTH: Final = 680
_ROW: Final = 48  # px from one row of boxes to the next
_BOX: Final = 34  # px, the height of a box
_GAP: Final = 14  # px, the least distance of two boxes of a row
_EDGE: Final = 24  # px around everything
_LETTER: Final = 7.9  # px, the width of a letter of a name
_SMALL: Final = 5.4  # px, of a letter below it

# What each room is about, in few words. The tables in docs/architecture.md say more.
_CONTENT: Final = {
    "charts": "SVG",
    "cluster": "Ray: connection, passes, tasks",
    "config": "settings, checked",
    "images": "reading photos",
    "packed_columns": "many small objects",
    "packed": "their sequences",
    "records": "labelled photos",
    "tasks": "losses, scores, answers",
    "inference": "model file, predictor",
    "weight_files": "pretrained weights",
    "recipe": "default phases",
    "views": "augmentation",
    "data": "labels, splits",
    "frozen": "ONNX graphs, stored features",
    "probe": "linear heads",
    "answers": "scores of answers",
    "findings": "faults of photos and labels",
    "neighbours": "similar photos",
    "recommendation": "choice of a backbone",
    "reporting": "report.html",
    "serving": "HTTP",
    "model": "networks, stages, freezing",
    "products": "files of a finished run",
    "training": "train.py, run, steps, tools, watch",
    "demo": "headstart demo",
    "cli": "commands",
    "__main__": "python -m headstart",
}

_STYLE: Final = """
svg { color-scheme: light dark; font: 13px ui-monospace, Menlo, Consolas, monospace; }
.paper { fill: #ffffff; } .ground { fill: #eef4ee; } .upper { fill: #fdf2e4; }
.room { fill: #ffffff; stroke: #4c7a54; stroke-width: 1.3; } .above { stroke: #b26a12; }
.line { fill: none; stroke: #7d8791; stroke-width: 1.2; }
text { fill: #1c2024; text-anchor: middle; } .files { font-size: 10px; }
.small, .note { font: 10.5px system-ui, sans-serif; fill: #56606a; } .floor, .note { text-anchor: start; }
.floor { font: 600 13px system-ui, sans-serif; } .note { font-size: 12px; }
@media (prefers-color-scheme: dark) {
.paper { fill: #14181c; } .ground { fill: #1a241d; } .upper { fill: #2b2218; }
.room { fill: #20262c; stroke: #7fb98a; } .above { stroke: #e0a458; }
.line { stroke: #8b96a1; } text { fill: #e8ebee; } .small, .note { fill: #a9b3bd; }
}
"""


def imports_of_rooms() -> dict[str, set[str]]:
    """Return each room, the first part of a place of the house, with the rooms that it imports."""
    below: dict[str, set[str]] = {_room(place): set() for place in HOUSE}
    for module, names in imports().items():
        below[_room(place_of(module))] |= {_room(place_of(other)) for other in modules_of(names)}
    return {room: others - {room} for room, others in below.items()}


def draw() -> str:
    """Return the picture as SVG. It depends on nothing but the imports and the order of the house."""
    below = imports_of_rooms()
    foundation = [room for room in below if _is_foundation(room, below)]
    rooms = {room: others - {*foundation} for room, others in below.items() if room not in foundation}
    rows = _Rows(_without_detours(rooms))
    upper = {_room(place) for place in UPPER_FLOOR.split()}
    first_upper = min(rows.level[room] for room in upper)
    bottom = _EDGE + len(rows.rows) * _ROW + _ROW
    height = bottom + _BOX + 14 + _EDGE

    def top_of(row: int) -> int:
        return bottom - (row + 1) * _ROW - (0 if row < first_upper else _ROW)

    border = top_of(first_upper) + _BOX + 16
    parts = [
        _rect("paper", 0, 0, _WIDTH, height),
        _rect("upper", 8, 8, _WIDTH - 16, border - 8),
        _rect("ground", 8, border + 6, _WIDTH - 16, height - border - 14),
        _text("floor", 22, 30, "Upper floor: may use PyTorch"),
        _text("note", 22, 48, "Lines lead down to what is imported."),
        _text("floor", 22, border + 28, "Ground floor: without PyTorch"),
    ]
    parts += [_line(path, rows, top_of) for path in rows.paths]
    for room, row in rows.level.items():
        parts += _box(room, rows.x[room], top_of(row), is_upper=room in upper)
    parts.append(_rect("room", 22, bottom, _WIDTH - 44, _BOX + 14))
    parts.append(_text("files", _WIDTH // 2, bottom + 20, "  ".join(f"{name}.py" for name in foundation)))
    parts.append(_text("small", _WIDTH // 2, bottom + 36, "used everywhere; these import only each other"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}">\n'
        f"<title>Which part of src/headstart imports which</title>\n<style>{_STYLE}</style>\n"
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _room(place: str) -> str:
    return place.partition("/")[0]


def _is_foundation(room: str, below: dict[str, set[str]]) -> bool:
    """Return whether a room is one file that imports only such files."""
    return room in FILES and FILES[room].stem == room and all(_is_foundation(o, below) for o in below[room])


def _without_detours(below: dict[str, set[str]]) -> dict[str, list[str]]:
    """Leave out each import that is also reached through another one."""
    reached: dict[str, set[str]] = {}
    for room, others in below.items():  # from the bottom up
        reached[room] = others.union(*(reached[other] for other in others))
    return {
        room: [each for each in below if each in others and not any(each in reached[o] for o in others)]
        for room, others in below.items()
    }


class _Rows:
    """Rooms in rows, each above all that it imports, and the upper floor above the ground floor.

    A line that passes a row has a place of its own there, called ``upper>lower>row``.
    """

    def __init__(self, below: dict[str, list[str]]) -> None:
        self.level: dict[str, int] = {}
        ground = {_room(place) for place in GROUND_FLOOR.split()}
        for room, others in below.items():
            least = -1 if room in ground else max(self.level[each] for each in ground & self.level.keys())
            self.level[room] = 1 + max([least, *(self.level[other] for other in others)])
        for room in reversed(below):  # whatever has more lines above than below moves up
            above = [self.level[each] for each, others in below.items() if room in others]
            if len(above) > len(below[room]):
                self.level[room] = min(above) - 1
        self.rows: list[list[str]] = [[] for _ in range(1 + max(self.level.values()))]
        for room, row in self.level.items():
            self.rows[row].append(room)
        self.paths: list[list[str]] = []
        for room, others in below.items():
            for other in others:
                passed = range(self.level[room] - 1, self.level[other], -1)
                self.paths.append([room, *(f"{room}>{other}>{row}" for row in passed), other])
                for name, row in zip(self.paths[-1][1:-1], passed, strict=True):
                    self.rows[row].append(name)
        self._neighbours: dict[str, list[str]] = {name: [] for row in self.rows for name in row}
        for one, two in self._steps():
            self._neighbours[one].append(two)
            self._neighbours[two].append(one)
        self._untangle()
        self.x = self._places()

    def _steps(self) -> Iterable[tuple[str, str]]:
        return (step for path in self.paths for step in pairwise(path))

    def _untangle(self) -> None:
        """Sort each row by the mean position of its neighbours. Keep the order with the fewest crossings."""
        best = (self._crossings(), [list(row) for row in self.rows])
        for turn in range(24):
            rows = self.rows if turn % 2 else self.rows[::-1]
            for row in rows:
                where = {name: i / len(each) for each in self.rows for i, name in enumerate(each)}
                row.sort(key=lambda name: _mean([where[n] for n in self._neighbours[name]], where[name]))
            best = min(best, (self._crossings(), [list(row) for row in self.rows]), key=lambda one: one[0])
        self.rows = best[1]

    def _crossings(self) -> int:
        where = {name: i for row in self.rows for i, name in enumerate(row)}
        row_of = {name: number for number, row in enumerate(self.rows) for name in row}
        ends = [(row_of[one], where[one], where[two]) for one, two in self._steps()]
        return sum(a[0] == b[0] and a[1] < b[1] and a[2] > b[2] for a, b in product(ends, repeat=2))

    def _places(self) -> dict[str, float]:
        """Return the middle of each name in px: near its neighbours, in the order of its row."""
        x = {name: _WIDTH * (i + 1) / (len(row) + 1) for row in self.rows for i, name in enumerate(row)}
        for turn in range(60):
            for row in self.rows if turn % 2 else self.rows[::-1]:
                wished = [_mean([x[each] for each in self._neighbours[name]], x[name]) for name in row]
                x |= zip(row, _apart(wished, [_width(name) for name in row]), strict=True)
        left = min(x[name] - _width(name) / 2 for name in x)
        right = max(x[name] + _width(name) / 2 for name in x)
        return {name: each + (_WIDTH - left - right) / 2 for name, each in x.items()}


def _mean(values: Sequence[float], otherwise: float) -> float:
    return math.fsum(values) / len(values) if values else otherwise  # the same in all versions of Python


def _apart(wished: Sequence[float], widths: Sequence[float]) -> list[float]:
    """Move middles as little as possible so that nothing overlaps and everything is in the picture."""
    offsets = [0.0]
    for left, right in pairwise(widths):
        offsets.append(offsets[-1] + (left + right) / 2 + _GAP)
    groups: list[tuple[float, int]] = []  # mean position of neighbours that touch, and their number
    for wish, offset in zip(wished, offsets, strict=True):
        mean, number = wish - offset, 1
        while groups and groups[-1][0] >= mean:
            before, others = groups.pop()
            mean, number = (before * others + mean * number) / (others + number), others + number
        groups.append((mean, number))
    first, last = _EDGE + widths[0] / 2, _WIDTH - _EDGE - widths[-1] / 2 - offsets[-1]
    starts = [min(max(mean, first), last) for mean, number in groups for _ in range(number)]
    return [start + offset for start, offset in zip(starts, offsets, strict=True)]


def _label(room: str) -> str:
    return f"{room}/" if (SOURCE / room).is_dir() else f"{room}.py"


def _width(name: str) -> float:
    if ">" in name:
        return 4
    return max(len(_label(name)) * _LETTER, len(_CONTENT[name]) * _SMALL) + 20


def _box(room: str, x: float, top: int, *, is_upper: bool) -> list[str]:
    width = _width(room)
    return [
        _rect("room above" if is_upper else "room", x - width / 2, top, width, _BOX),
        _text("", x, top + 15, _label(room)),
        _text("small", x, top + 28, _CONTENT[room]),
    ]


def _line(path: Sequence[str], rows: _Rows, top_of: Callable[[int], int]) -> str:
    row = rows.level[path[0]]
    drawn = f"M{rows.x[path[0]]:.0f} {top_of(row) + _BOX}"
    for upper, lower in pairwise(path):
        row -= 1
        start, end = top_of(row + 1) + _BOX, top_of(row)
        half = (start + end) // 2
        drawn += f"C{rows.x[upper]:.0f} {half} {rows.x[lower]:.0f} {half} {rows.x[lower]:.0f} {end}"
        drawn += f"V{end + _BOX}" if lower != path[-1] else ""
    return f'<path class="line" d="{drawn}"><title>{path[0]} imports {path[-1]}</title></path>'


def _rect(kind: str, left: float, top: float, width: float, height: float) -> str:
    sides = f'x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" height="{height:.0f}"'
    return f'<rect class="{kind}" {sides} rx="5"/>'


def _text(kind: str, x: float, y: float, text: str) -> str:
    return f'<text class="{kind}" x="{x:.0f}" y="{y:.0f}">{escape(text)}</text>'


if __name__ == "__main__":
    PICTURE.write_text(draw(), "utf-8", newline="\n")
    print(f"Written: {PICTURE}")
