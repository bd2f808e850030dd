"""Finds the names of YOLO's classes: in data.yaml, or in a text file with a name per line."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import yaml

from headstart.errors import DataError

_BESIDE_PHOTOS: Final = ("classes.txt", "obj.names", "_darknet.labels")
_TEXT_FILES: Final = (*_BESIDE_PHOTOS, "labels.txt")


def has_text_of_names(folder: Path) -> bool:
    """Return whether a folder has a list of classes as LabelImg and Darknet write it beside photos."""
    return any((folder / name).is_file() for name in _BESIDE_PHOTOS)


def find_class_names(folder: Path, *others: Path) -> tuple[list[str], str]:
    """Return the names of the classes by number, and the file that has them.

    Args:
        folder: The folder with ``labels``. Its YAML files are read, then its text files.
        others: Folders of its splits, of which the text files are read.

    Raises:
        DataError: No file has them, files contradict each other, or a file cannot be read exactly.
    """
    found: list[tuple[list[str], str]] = []
    for path in sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")]):
        if names := _names_in_yaml(path):
            found.append((names, str(path)))
    texts = [folder, folder / "labels", *others]
    for path in (place / name for place in texts for name in _TEXT_FILES):
        if path.is_file() and (not found or path.name in (_TEXT_FILES[0], Path(found[-1][1]).name)):
            found.append((_names_in_lines(path), str(path)))
    if not found or any(names != found[0][0] for names, _ in found):
        what = "different names of classes in" if found else "no file with the names of its classes"
        shown = "".join(f" {path!r}" for _, path in found)
        raise DataError(
            f"{str(folder)!r} holds YOLO's labels, but {what}{shown}. Keep one data.yaml with names: "
            "[cat, dog], or a classes.txt with a name per line."
        )
    return found[0]


def _names_in_lines(path: Path) -> list[str]:
    lines = [line.strip() for line in _text_of(path).rstrip().splitlines()]
    if "" in lines:
        raise DataError(
            f"{str(path)!r}, line {lines.index('') + 1}, is blank, so that the numbers of the classes below "
            "are not certain. Remove the line, or write the name of the class."
        )
    return lines


def _names_in_yaml(path: Path) -> list[str]:
    """Return the names in YOLO's data.yaml: a list, or names by their numbers. Empty: none in the file.

    The nodes are read, not values: the class ``no`` is text, and no name is silently read twice.
    """
    if b"names" not in path.read_bytes():
        return []
    try:
        root = yaml.compose(_text_of(path), Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        shown = " ".join(str(error).split())
        raise DataError(f"{str(path)!r} is not YAML: {shown}. Repair it, or export it again.") from error
    entries = _entries_of(root, path) if isinstance(root, yaml.MappingNode) else {}
    if "names" not in entries:
        return []
    names = _by_number(entries["names"], path)
    num_classes = entries.get("nc")
    if num_classes is not None and num_classes.value != str(len(names)):
        raise DataError(
            f"{str(path)!r} has {len(names)} names, but nc is {num_classes.value}. Correct one of them."
        )
    return names


def _by_number(node: yaml.Node, path: Path) -> list[str]:
    """Return the names of a list in its order, or those of numbers in the order of the numbers."""
    if isinstance(node, yaml.SequenceNode):
        found = node.value
    elif isinstance(node, yaml.MappingNode):
        entries = _entries_of(node, path)
        wanted = [str(number) for number in range(len(entries))]
        if set(entries) != set(wanted):
            raise DataError(
                f"{str(path)!r}: the numbers of the {len(wanted)} names are {', '.join(entries)}; they must "
                f"be those from 0 to {len(wanted) - 1}, each once."
            )
        found = [entries[number] for number in wanted]
    else:
        raise DataError(f"{str(path)!r}: names is {node.value!r}; it must be a list, such as [cat, dog].")
    for each in found:
        if not isinstance(each, yaml.ScalarNode) or not each.value.strip():
            line = each.start_mark.line + 1
            raise DataError(
                f"{str(path)!r}, line {line}: the name of a class is empty, or is not plain text."
            )
    return [each.value.strip() for each in found]


def _entries_of(mapping: yaml.MappingNode, path: Path) -> dict[str, yaml.Node]:
    entries: dict[str, yaml.Node] = {}
    for key, value in mapping.value:
        name = key.value if isinstance(key, yaml.ScalarNode) else repr(key.tag)
        if name in entries:
            raise DataError(f"{str(path)!r}, line {key.start_mark.line + 1}: {name!r} occurs a second time.")
        entries[name] = value
    return entries


def _text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise DataError(f"{str(path)!r} cannot be read: {error}. Save it as UTF-8.") from error
