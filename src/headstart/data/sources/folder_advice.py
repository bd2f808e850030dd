"""Advice for folders whose classes are on another level, or are no classes; each command can be copied."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from headstart.columns import listed
from headstart.data.sources.split_names import SPLIT_OF_WORD, split_in_name
from headstart.data.sources.tree import Tree
from headstart.errors import did_you_mean, shell_command

_MOST_NAMED: Final = 20
_FEW_NAMED: Final = 10  # classes in one error message
_MOST_SENTENCES: Final = 3  # about one class each; more classes share one

_DATE: Final = re.compile(
    r"(?:19|20)\d{2}([-_.]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])(?:\D.*)?"  # 2024-01-31, 20240131
    r"|(?:19|20)\d{2}[-_.](?:0[1-9]|1[0-2])"  # 2024-01
    r"|(?:0?[1-9]|[12]\d|3[01])[-_.](?:0?[1-9]|1[0-2])[-_.](?:19|20)\d{2}"  # 31.1.2024
)
_OF_MASKS: Final = re.compile(
    r"(?:ground[ _-]?truth|gt|(?:seg(?:mentation)?[ _-]?)?(?:masks?|annotations?))(?:[ _-].*)?", re.IGNORECASE
)

# Without backslashes, so that they can be copied into any shell.
_GROUP_LABEL: Final = "(?P<group>[^/]+)/(?P<label>[^/]+)/"
_LABEL_SPLIT: Final = "(?P<label>[^/]+)/(?P<split>[^/]+)/"
_LAST: Final = "(?P<label>[^/]+)/[^/]+$"
_SECOND: Final = "[^/]+/(?P<label>[^/]+)/"


def are_dates(names: Collection[str]) -> bool:
    """Return whether folders are called by dates, all of them."""
    return bool(names) and all(_DATE.fullmatch(name) for name in names)


def on_same_subfolders(
    root: str,
    folders: Sequence[str],
    common: Sequence[str],
    classes_in: Mapping[str, Collection[str]],
    *,
    may_be_classes: bool,
) -> str:
    """Return what to do about folders that contain the same subfolders.

    Args:
        root: The folder that contains them.
        folders: Their names, sorted.
        common: The subfolders that several of them have, sorted.
        classes_in: The subfolders of each folder, also of those beside them.
        may_be_classes: Whether ``--task classification`` makes classes of the folders.
    """
    if_classes = " If the folders above are the classes, say so: --task classification" * may_be_classes
    masks = [name for name in folders if _OF_MASKS.fullmatch(name)]
    if masks:
        return _on_masks(root, masks, classes_in)
    if all(name.lower() in SPLIT_OF_WORD for name in common):
        command = shell_command("train", root, "--label-from", _LABEL_SPLIT)
        return (
            "Splits belong above the classes. To train with the upper folders as classes and the lower ones "
            f"as splits: {command}{if_classes and '.' + if_classes}"
        )
    if all(map(split_in_name, common)):
        return (
            "Splits belong above the classes: make folders train and test, each with the class folders in "
            f"it.{if_classes}"
        )
    inner_masks = [name for name in common if _OF_MASKS.fullmatch(name)]
    if inner_masks and len(common) - len(inner_masks) < 2:  # of photos and masks of each class
        shown = listed(list(map(repr, inner_masks)), _MOST_NAMED)
        return (
            f"By the name, {shown} contains masks, which are not photos to learn from. Move these folders "
            f"out of {root!r}; the folders above are then the classes: {shell_command('train', root)}"
        )
    shown = listed(list(map(repr, inner_masks)), _MOST_NAMED)
    if_masks = f" Masks are no photos to learn from: move {shown} away first." if inner_masks else ""
    first, second = (str(Path(root, name)) for name in folders[:2])
    return (
        "So the subfolders may be the classes, and the folders above them dates, domains or folds. To train "
        "on all of them, each on one side of the split: "
        f"{shell_command('train', root, '--label-from', _GROUP_LABEL)}. To train on one and validate on "
        f"another: {shell_command('train', first, '--val', second)}. Or rename them train, val and test; or "
        "list all photos in a table with the columns image, label and group (or split)."
        f"{if_masks}{if_classes}"
    )


def _on_masks(root: str, masks: Sequence[str], classes_in: Mapping[str, Collection[str]]) -> str:
    """Return what to do about folders of masks beside those of photos."""
    shown = listed(list(map(repr, masks)), _MOST_NAMED)
    what = f"By the name, {shown} contains masks, which are not photos of a class."
    others = [name for name, classes in classes_in.items() if name not in masks and len(classes) > 1]
    if len(others) == 1:
        return f"{what} To train on the photos alone: {shell_command('train', str(Path(root, others[0])))}"
    return f"{what} Move {'it' if len(masks) == 1 else 'them'} out of {root!r}."


def notes_on_levels(tree: Tree, above: tuple[str, ...], names: Iterable[str]) -> list[str]:
    """Return warnings about class folders that may not be the classes.

    Args:
        tree: All photos.
        above: Names of the folders below the root that lead to the class folders.
        names: Names of the class folders that contain photos.
    """
    folders = sorted(names)
    if len(folders) < 2:
        return []
    inner = {name: tree.subfolders[(*above, name)] for name in folders}
    is_deeper = all(tree.is_made_of_folders((*above, name)) for name in folders)
    below = {each for subfolders in inner.values() for each in subfolders}
    if is_deeper and any(len(subfolders) > 1 for subfolders in inner.values()) and not are_dates(below):
        first = next(name for name in folders if len(inner[name]) > 1)
        command = shell_command("train", os.path.join(tree.root, *above), "--label-from", _SECOND)  # noqa: PTH118
        example = f"{first}/{min(inner[first])}"
        return [
            f"All photos are in subfolders of the class folders, such as {example!r}. If the subfolders "
            f"are the classes: {command}"
        ]
    return []


def notes_on_deeper_names(tree: Tree, above: tuple[str, ...], notes: Sequence[str]) -> list[str]:
    """Return a note if the photos of all classes are in deeper folders whose names recur in each class.

    Args:
        tree: All photos.
        above: Names of the folders below the root that lead to the class folders.
        notes: Notes so far. One about subfolders of the class folders says enough.
    """
    depth = len(above)
    if any("--label-from" in note for note in notes):
        return []
    last_in: dict[str, set[str]] = defaultdict(set)
    for image in tree.images:
        if image.folders[:depth] == above and len(image.folders) > depth:
            last_in[image.folders[depth]].add(image.folders[-1] if len(image.folders) > depth + 2 else "")
    common = set.intersection(*last_in.values()) if len(last_in) > 1 else set()
    if len(common) < 2 or "" in common or any(each != common for each in last_in.values()):
        return []
    shown = listed(list(map(repr, sorted(common))), 5)
    command = shell_command("train", tree.root, "--label-from", _LAST)
    return [
        f"The innermost folders have the same names in each class: {shown}. If these are the "
        f"classes: {command}"
    ]


def classes_below(paths: Iterable[str]) -> str | None:
    """Return the folder that contains several folders with all these photos; None if there is none."""
    parents = {os.path.dirname(path) for path in paths}  # noqa: PTH120  # of members of tar files, too
    return os.path.commonpath(parents) if len(parents) > 1 else None


def without_training_photos(
    path: str, train_path: str, unknown: Sequence[str], known: Iterable[str]
) -> list[str]:
    """Return sentences about classes of another split that have no training photos."""
    if len(unknown) <= _MOST_SENTENCES:
        return [
            f"{path!r} has a class {name!r}, which {train_path!r} does not have."
            + (did_you_mean(name, known) or " Add training photos of it, or leave it out.")
            for name in unknown
        ]
    names = listed(list(map(repr, unknown)), _FEW_NAMED)
    return [
        f"{path!r} has {len(unknown):,} classes that {train_path!r} does not have: {names}. Add training "
        "photos of them, or leave them out."
    ]
