"""How plans write numbers and draw curves: pure functions of them, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from headstart.columns import round_numbers

NOTHING_DONE: Final = "This is a plan: nothing has been trained or written."

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_WIDTH: Final = 60  # of a drawing, in characters
_MARGIN: Final = 13  # of what stands right of a name such as "optimiser"


def line(name: str, text: str) -> str:
    """Return a line of a plan: a name, or none where the line continues, and what is said of it."""
    return f"  {name:{_MARGIN - 2}}{text}".rstrip()


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    if seconds < 1:
        return f"{seconds:.1g} s" if seconds >= 0.001 else "no time"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def size(num_bytes: int) -> str:
    """Return a size in MB or GB."""
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.1f} MB"


def sparkline(values: Sequence[float], width: int = _WIDTH) -> str:
    """Draw values as blocks, from 0 to the largest of them.

    Args:
        values: At least one, none below 0, one above.
        width: In characters. Of several values in one place, the mean is drawn; of fewer, each takes several.
    """
    largest, drawn = max(values), []
    for place in range(width):
        start, stop = place * len(values) // width, (place + 1) * len(values) // width
        mean = float(np.mean(values[start : max(stop, start + 1)]))
        drawn.append(_BLOCKS[max(0, round(mean / largest * len(_BLOCKS)) - 1)])
    return "".join(drawn)


def epoch_axis(epochs: int, width: int = _WIDTH) -> str:
    """Name epochs where they begin, under a sparkline: as many as there is room for."""
    every = next(number for number in round_numbers() if number * width >= 5 * epochs)
    text = ""
    for epoch in range(1, epochs + 1):
        place = (epoch - 1) * width // epochs
        if (epoch == 1 or epoch % every == 0) and (not text or place > len(text)):
            text = text.ljust(place) + str(epoch)
    return f"{text.ljust(width)}  epoch"
