"""What a folder that cannot be used may be, and what to do about it."""

from __future__ import annotations

from pathlib import Path

from headstart.data.sources.file_names import suggested
from headstart.data.sources.groups import below
from headstart.data.sources.layouts import advice_on_layout
from headstart.data.sources.refused import names_photos, unsupported_in
from headstart.data.sources.split_names import SPLIT_OF_FOLDER
from headstart.data.sources.table_file import TABLE_SUFFIXES
from headstart.data.sources.text_lists import LIST_SUFFIX
from headstart.data.sources.tree import Tree
from headstart.data.sources.trees import tree_at
from headstart.errors import shell_command
from headstart.files import is_remote


def named_form(data: str) -> str:
    """Return what a folder that cannot be used is and what to do, if its form is known by name."""
    if is_remote(data) or not Path(data).is_dir():
        return ""
    return advice_on_layout(data) or ("" if _has_classes(tree_at(data, set())) else unsupported_in(data))


def _has_classes(tree: Tree) -> bool:
    """Return whether several folders hold photos, so that they are meant to be the classes."""
    return len(tree.subfolders[()].keys() - SPLIT_OF_FOLDER.keys()) > 1


def advice_on_folder(data: str) -> str:
    """Return what may be meant by a folder that is not one of class folders; empty if it is not known."""
    if not is_remote(data) and Path(data).is_dir():
        found = sorted(Path(data).iterdir())
        tables = [each for each in found if each.suffix.lower() in TABLE_SUFFIXES]
        tables += [each for each in found if each.suffix.lower() == ".json" and names_photos(str(each))]
        if tables:
            return f"If the labels are in {str(tables[0])!r}, name that file."
        lists = [each for each in found if each.suffix.lower() == LIST_SUFFIX and names_photos(str(each))]
        if lists:
            return f"If the labels are in {str(lists[0])!r}, name that file."
    tree = tree_at(data, set())
    tops = list(tree.subfolders[()])
    has_others = len({names[0] for names in tree.folders if names}) > 1  # without photos
    if (
        has_others
        and len(tops) == 1
        and len(tree.subfolders[tuple(tops)]) > 1
        and not tree.num_photos_in[tuple(tops)]
    ):
        inner = Path(data, *tops)
        return f"If the folders in {str(inner)!r} are the classes, name it: {shell_command('train', inner)}"
    if _has_classes(tree):
        return ""
    if expression := suggested([below(image.path, data) for image in tree.images]):
        return f"If the labels are in the names of the photos, say how: --label-from '{expression}'"
    return ""
