"""Compare the output that a page shows with the real one, apart from what differs between runs."""

from __future__ import annotations

import re

_DURATION = re.compile(r"\d[\d.]* ?(?:h|min|s|ms|µs)\b(?: \d+ ?(?:min|s)\b)*")
_HASH = re.compile(r"\b(?=[a-f]*\d)[0-9a-f]{8,64}\b")
_PATH = re.compile(r"(?<![\w.])~?/[^\s'\",:;)]+")
_NUMBER = re.compile(r"[-+−]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)*(?:e[-+]?\d+)?")
_VARIES = re.compile("|".join(each.pattern for each in (_HASH, _PATH, _DURATION, _NUMBER)))
_PROGRESS = re.compile(r"\w[^:]*: [\d,]+/[\d,]+, .*/s\b.*")  # how often it is printed depends on the machine


def tidy(output: str, places: dict[str, str]) -> list[str]:
    """Return the lines as a page may show them: without colours and progress, with folders renamed.

    Args:
        output: What a block has printed.
        places: Replacements of paths, applied in their order.
    """
    output = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output)
    for path, name in places.items():
        output = output.replace(path, name)
    lines = [line.rpartition("\r")[2].rstrip() for line in output.replace("\r\n", "\n").split("\n")]
    lines = [line for line in lines if not _PROGRESS.fullmatch(line)]
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
        line if index < 0 else _with_real_values(line, real[index]) if "…" in line else real[index]
        for line, index in zip(shown, where, strict=True)
    ]


def _with_real_values(line: str, real: str) -> str:
    """Return a line in which ``…`` stands for some text, with numbers, times and paths of the real one."""
    parts = []
    for part in line.split("…"):
        pieces = (re.escape(piece) for piece in _VARIES.split(part))
        pieces = (re.sub(r"(?:\\ )+", r"\\s+", piece) for piece in pieces)
        parts.append("(" + f"(?:{_VARIES.pattern})".join(pieces) + ")")
    found = re.fullmatch(".*?".join(parts), real)
    return "…".join(found.groups()) if found else line
