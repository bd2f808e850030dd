"""Compare the output that a page shows with the real one, apart from what differs between runs."""

from __future__ import annotations

import re

_DURATION = re.compile(r"\d[\d.,]* ?(?:h|min|s|ms|µs)\b(?: \d[\d.,]* ?(?:min|s)\b)*")
_HASH = re.compile(r"\b(?=[a-f]*\d)[0-9a-f]{8,64}\b")
_PATH = re.compile(r"(?<![\w.])~?/[^\s'\",:;)]+")
_NUMBER = re.compile(r"[-+−]?\d[\d.,]*\d(?:e[-+]?\d+)?|[-+−]?\d(?:e[-+]?\d+)?")


def tidy(output: str, places: dict[str, str]) -> list[str]:
    """Return the lines as a page may show them: without colours, and with folders of the test renamed.

    Args:
        output: What a block has printed.
        places: Replacements of paths, applied in their order.
    """
    output = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output)
    for path, name in places.items():
        output = output.replace(path, name)
    lines = [line.rpartition("\r")[2].rstrip() for line in output.replace("\r\n", "\n").split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    while lines and not lines[0]:
        lines.pop(0)
    return lines


def mask(line: str) -> str:
    """Replace what differs between runs and machines: hashes, absolute paths, times, numbers, widths."""
    line = _HASH.sub("<hash>", line)
    line = _PATH.sub("<path>", line)
    line = _DURATION.sub("<time>", line)
    line = _NUMBER.sub("<number>", line)
    line = re.sub(r"([─━═╌-])\1{2,}", r"\1", line)
    return re.sub(r"\s+", " ", line).strip()


def is_any(line: str) -> bool:
    """Tell whether the line stands for any lines."""
    return line.strip() == "..."


def matches(shown: list[str], real: list[str]) -> list[int] | None:
    """Find the real line of every line that is shown.

    Args:
        shown: The page's lines. A line ``...`` stands for any lines, and ``…`` in a line for any text.
        real: The lines of the real output, see ``tidy``.

    Returns:
        For each line of ``shown``, its index in ``real``, or -1 for ``...``; None if they do not match.
    """
    pattern = ""
    for line in shown:
        if is_any(line):
            pattern += r"((?:[^\n]*\n)*?)"
        else:
            parts = [re.escape(part) for part in mask(line.replace("…", "\0")).split("\0")]
            pattern += "(" + r"[^\n]*".join(parts) + r"\n)"
    masked = "".join(mask(line) + "\n" for line in real)
    if not (found := re.fullmatch(pattern, masked)):
        return None
    return [
        -1 if is_any(line) else masked.count("\n", 0, found.start(group))
        for group, line in enumerate(shown, 1)
    ]


def updated(shown: list[str], real: list[str]) -> list[str]:
    """Return the lines to show for a real output; what is left out stays out if the rest still matches."""
    where = matches(shown, real)
    if where is None:
        return real
    return [
        line if index < 0 or "…" in line else real[index] for line, index in zip(shown, where, strict=True)
    ]
