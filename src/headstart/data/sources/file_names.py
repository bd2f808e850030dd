"""Labels in the names of photos, found by a regular expression: ``cat.17.jpg``, ``Abyssinian_3.jpg``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from headstart import tasks
from headstart.data.sources.groups import Finder, below, group_finder, group_of
from headstart.data.sources.split_names import SPLIT_OF_FOLDER, SPLIT_OF_WORD
from headstart.data.sources.trees import tree_at
from headstart.data.sources.written import Labels, Options, Written, clean_class
from headstart.errors import ConfigError
from headstart.images.find_tars import root_of

_SAMPLE: Final = 200  # names that are tried first

_GROUPS: Final = {"label", "group", "split"}
_EXAMPLE: Final = "'(?P<label>[a-z]+)[._-][0-9]+'"
_USUAL: Final = (  # without backslashes, so that they can be copied into any shell
    "(?P<label>[^/]*[^/0-9._ (-])[._ (-]*[0-9]+[)]*[.][^./]+$",  # cat.17.jpg, Abyssinian_3.jpg, cat (2).png
    "(?:^|/)(?P<label>[^/0-9._-]+)[._-][^/]*$",  # cat_outdoors_17.jpg
)


def read_file_names(path: str, options: Options, split: str | None = None) -> Labels:
    """Return the labels in the paths of all photos of a folder, which is listed when ``written`` is read.

    Args:
        path: The folder, tar files or remote folder: see ``tree_at``.
        options: ``label_from`` and how groups are found.
        split: The split of all photos; None if their paths determine it.

    Raises:
        ConfigError: The expression is wrong, or the task has no class.
    """
    pattern = _pattern(options.label_from or "", options)
    if not (options.is_open or options.wants.has_class):
        raise ConfigError(
            f"label_from finds one class in each path, but task is {options.task!r}. Write a table instead."
        )
    labels = Labels(
        root_of(path), options.chosen(tasks.CLASSIFICATION), form=f"names of the photos in {path!r}"
    )
    find_group = group_finder(options.group_by) if options.group_by else None
    labels.written = _written(path, pattern, labels, find_group, split)
    return labels


def _pattern(text: str, options: Options) -> re.Pattern[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ConfigError(f"label_from is {text!r}, which is not a regular expression: {error}.") from error
    named = set(pattern.groupindex)
    if unknown := sorted(named - _GROUPS):
        raise ConfigError(
            f"label_from is {text!r}; its groups may be called label, group and split, not {unknown[0]!r}."
        )
    if "label" not in named and (named or pattern.groups != 1):
        raise ConfigError(f"label_from is {text!r}; it needs the group (?P<label>...), as in {_EXAMPLE}.")
    if "group" in named and options.group_by:
        raise ConfigError(
            "Both label_from and group_by find groups. Leave group_by out, or the group of label_from."
        )
    return pattern


def _written(
    root: str, pattern: re.Pattern[str], labels: Labels, find_group: Finder | None, split: str | None
) -> Iterator[Written]:
    by_folder = Counter[str]()
    for entry in tree_at(root, set()).images:
        labels.found += 1
        seen = below(entry.path, root)
        match = pattern.search(seen)
        found = match.groupdict() if match else {}
        label = found.get("label") if "label" in pattern.groupindex or match is None else match[1]
        if not label or not label.strip():
            labels.errors.append(f"label_from {pattern.pattern!r} finds no label in {seen!r}")
            continue
        own, fault = split, ""
        if name := found.get("split"):
            own = SPLIT_OF_WORD.get(name.lower())
            if own is None:
                fault = f"label_from finds the split {name!r}; it must be train, val or test"
        elif "split" not in pattern.groupindex and split is None and len(entry.names) > 1:
            own = SPLIT_OF_FOLDER.get(entry.names[0].lower())
            by_folder.update([own] if own else [])
        group = found.get("group") or group_of(entry.path, entry.path, labels, find_group)
        yield Written(entry.path, seen, own, group, (clean_class(label),), fault=fault)
    if by_folder:
        shown = ", ".join(f"{number} {name}" for name, number in by_folder.items())
        labels.notes.append(f"Splits are the names of the upper folders: {shown}.")


def suggested(names: Sequence[str]) -> str:
    """Return an expression that finds repeated labels in all names of photos; empty if none does."""
    if len(names) < 4:
        return ""
    step = max(len(names) // _SAMPLE, 1)
    for text in _USUAL:
        pattern = re.compile(text)
        if None in _labels(pattern, names[::step]):  # most folders end here
            continue
        found = _labels(pattern, names)
        counts = Counter(found)
        if None not in counts and len(counts) > 1 and min(counts.values()) > 1:
            return text
    return ""


def _labels(pattern: re.Pattern[str], names: Sequence[str]) -> list[str | None]:
    """Return the labels that a usual expression finds in the names of photos, without their folders.

    Such a label starts at the start of the name, so it is not searched further, which would take long.
    """
    matches = (pattern.match(name.rpartition("/")[2]) for name in names)
    return [match["label"] if match else None for match in matches]
