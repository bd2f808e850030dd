"""Finds the groups of photos in their paths."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from headstart.data.sources.written import Labels
from headstart.errors import ConfigError, did_you_mean
from headstart.files import is_remote

Finder: TypeAlias = Callable[[str], str | None]


def group_finder(group_by: str, columns: Sequence[str] = ()) -> Finder:
    """Return a function that finds the group in a path, by the first parentheses of a regular expression.

    Args:
        group_by: The regular expression.
        columns: Names of the table's columns, for the error message.

    Raises:
        ConfigError: It is not a regular expression, or has no parentheses.
    """
    kinds = "a regular expression with parentheses around the group, such as 'plant([0-9]+)'"
    if columns:
        kinds = f"a column ({', '.join(columns)}) or {kinds}"
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        raise ConfigError(f"group_by is {group_by!r}; it must be {kinds}: {error}.") from error
    if not pattern.groups:
        raise ConfigError(f"group_by is {group_by!r}.{did_you_mean(group_by, columns)} It must be {kinds}.")

    def find(path: str) -> str | None:
        match = pattern.search(path)
        return match[1] if match else None

    return find


def group_of(path: str, source: str, labels: Labels, find_group: Finder | None) -> str | None:
    """Return the group of a photo. If the regular expression finds none, that is one of the labels' errors.

    Args:
        path: The photo.
        source: Where its label is written.
        labels: All labels that are read together.
        find_group: The result of ``group_finder``; None if photos have no groups.
    """
    if find_group is None:
        return None
    seen = below(path, labels.root)
    group = find_group(seen)
    if group is None:
        labels.errors.append(
            f"{source}: the expression of group_by finds no group in {seen!r}; it must in every path"
        )
    return group


def below(path: str, root: str) -> str:
    """Return the path that the regular expression is applied to: relative to the root, with ``/``."""
    return path if is_remote(path) else Path(os.path.relpath(path, root)).as_posix()
