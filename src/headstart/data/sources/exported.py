"""Recognises tables that tools export with columns of their own, and converts them to usual rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from headstart.data.sources.cloud_exports import rows_of_aws, rows_of_vertex
from headstart.data.sources.hugging_face import are_objects, rows_of_objects
from headstart.data.sources.label_studio import rows_of_minimal
from headstart.data.sources.prodigy import is_prodigy, rows_of_prodigy
from headstart.data.sources.refused import refuse_table
from headstart.data.sources.tabular import JsonRows, Row, Table

_LABEL_STUDIO: Final = {"annotator", "annotation_id", "lead_time"}
_DECIDED: Final = {"label", "labels", "xmin", "ymin", "xmax", "ymax"}


def rows_of_export(path: str, table: Table) -> JsonRows | None:
    """Return the rows of a table that a tool has exported; None if its columns are usual ones.

    Raises:
        DataError: It is a table of a tool that is not supported; the message says what to do instead.
    """
    names = set(table.columns)
    refuse_table(path, names)
    errors: list[str] = []
    if "source-ref" in names:
        content = rows_of_aws(path, table.rows(table.columns, errors))
    elif is_prodigy(names):
        content = rows_of_prodigy(path, table.rows(table.columns, errors))
    elif "imageGcsUri" in names:
        content = rows_of_vertex(path, table.rows(table.columns, errors))
    elif "objects" in names and not names & _DECIDED and _has_objects(table):
        content = rows_of_objects(path, table.rows(table.columns, errors))
    elif names >= _LABEL_STUDIO:
        found = rows_of_minimal(path, list(_with_json(table, errors)))
        if found is None:
            return None
        content = found
    else:
        return None
    content.errors = [error.removeprefix(f"{path}, ") for error in errors] + content.errors
    return content


def _has_objects(table: Table) -> bool:
    """Return whether the first cell of ``objects`` that is not empty contains boxes."""
    cells = (row.get("objects") for _, row in table.rows(["objects"], []))
    return are_objects(next((cell for cell in cells if cell), None))


def _with_json(table: Table, errors: list[str]) -> Iterator[Row]:
    """Yield the rows of Label Studio's CSV, which writes what is not plain text as JSON into the cells."""
    for _, row in table.rows(table.columns, errors):
        yield {name: _of_json(cell) for name, cell in row.items()}


def _of_json(cell: Any) -> Any:
    if isinstance(cell, str) and cell.startswith(("{", "[")):
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            pass  # text that looks like it
    return cell
