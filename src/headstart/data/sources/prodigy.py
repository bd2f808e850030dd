"""Reads the tasks of Prodigy, of which annotators accept, reject or ignore the label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any, Final

from headstart.columns import counted
from headstart.data.sources.tabular import JsonRows, NumberedRows, Row
from headstart.errors import DataError

_MARKS: Final = {"_view_id", "answer", "image"}
_USED: Final = ("image", "label", "labels")


def is_prodigy(columns: Collection[str]) -> bool:
    """Return whether a table with these columns is Prodigy's, and about photos."""
    return set(columns) >= _MARKS


def rows_of_prodigy(path: str, rows: Iterable[tuple[int, Row]]) -> JsonRows:
    """Return the rows whose answer is ``accept``, with the label or the accepted options.

    Args:
        path: The file, for messages.
        rows: Its rows. ``accept`` is the list of options that were chosen, as in the interface ``choice``.

    Raises:
        DataError: The annotations are shapes, or the photos themselves are in the file, without a path.
    """
    found: NumberedRows = []
    left_out: Counter[str] = Counter()
    for number, row in rows:
        answer = row.get("answer")
        if answer != "accept":
            left_out[str(answer)] += 1
            continue
        if row.get("spans"):
            raise DataError(
                f"{path!r} contains shapes that were drawn in Prodigy, which are not supported. Write boxes "
                "as a table with the columns image, label, xmin, ymin, xmax and ymax."
            )
        found.append((number, _row_of(row)))
    if any("labels" in row for _, row in found) and all(len(row.get("labels", "")) == 1 for _, row in found):
        found = [(number, {"image": row["image"], "label": row["labels"][0]}) for number, row in found]
    notes = [
        f"{counted(number, 'row')} of {path!r} with Prodigy's answer {answer!r} "
        f"{'is' if number == 1 else 'are'} left out."
        for answer, number in sorted(left_out.items())
    ]
    return JsonRows(found, [], notes)


def _row_of(row: Row) -> Row:
    used: Row = {name: row[name] for name in _USED if name in row}
    if "accept" in row:
        used = {"image": row["image"], "labels": row["accept"]}
    if _is_inline(used.get("image")) and isinstance(row.get("path"), str):
        used["image"] = row["path"]
    return used


def _is_inline(image: Any) -> bool:
    return isinstance(image, str) and image.startswith("data:")
