"""Tables that lie in the folders of their photos, as Hugging Face and Roboflow write them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from headstart import tasks
from headstart.columns import counted, listed
from headstart.data.sources.fiftyone import is_fiftyone_file
from headstart.data.sources.refused import names_photos
from headstart.data.sources.split_names import SPLIT_OF_FOLDER, split_in_name
from headstart.data.sources.table import read_table
from headstart.data.sources.written import Labels, Options, Written
from headstart.errors import DataError, shell_command
from headstart.images.parquet_rows import is_parquet

_NAMES: Final = ("metadata.csv", "metadata.jsonl", "metadata.parquet", "_classes.csv", "_annotations.csv")
_CREATE_ML: Final = "_annotations.createml.json"
_FIFTYONE: Final = "labels.json"
_SHARD: Final = re.compile(r"(?P<name>.+?)-\d{5}-of-\d{5}\.parquet")


@dataclasses.dataclass(frozen=True, slots=True)
class FolderTables:
    """Tables of a folder.

    Attributes:
        root: The folder.
        splits: The split of each table, by its path; None if the table or its paths determine it.
        is_shards: Whether they are Parquet files without a name of their own.
    """

    root: str
    splits: dict[str, str | None]
    is_shards: bool


def note_on_tables(root: str) -> list[str]:
    """Return a note about tables that lie beside class folders and name photos."""
    tables = sorted(str(each) for each in Path(root).glob("*") if each.suffix.lower() in (".csv", ".tsv"))
    if found := [each for each in tables if names_photos(each)]:
        return [
            f"Tables beside the class folders are not read: {listed(list(map(repr, found)), 3)}. If labels "
            f"or splits are in a table, name it: {shell_command('train', found[0])}"
        ]
    return []


def find_folder_tables(root: str) -> FolderTables | None:
    """Return the tables with the names that exporters use, in a folder or in the folders of its splits.

    These are ``metadata.csv``, ``.jsonl`` and ``.parquet`` (Hugging Face), ``_classes.csv``,
    ``_annotations.csv`` and ``_annotations.createml.json`` (Roboflow), ``labels.json`` beside ``data``
    (FiftyOne), and ``.parquet`` files in the folder and in ``data``.

    Raises:
        DataError: There are several sets of them, either of which could be meant.
    """
    inner = [each for each in _folders(root) if each.name.lower() in SPLIT_OF_FOLDER]
    above = {str(path): None for path in _named(Path(root))}
    within = {str(path): SPLIT_OF_FOLDER[folder.name.lower()] for folder in inner for path in _named(folder)}
    shards = _shards(Path(root))
    sets = [each for each in (above, within, shards) if each]
    several = next((each for each in sets if len(each) > len({*each.values()}) and each is not shards), None)
    if several is not None or len(sets) > 1:
        found = list(several or {path: None for each in sets for path in list(each)[:1]})
        raise DataError(
            f"{root!r} holds several tables that may be the labels: {', '.join(map(repr, found[:4]))}. Name "
            "the one that is meant."
        )
    return FolderTables(root, dict(sets[0]), sets[0] is shards) if sets else None


def read_folder_tables(found: FolderTables, options: Options, split: str | None = None) -> Labels:
    """Return the labels of all tables together. Rows are read when ``written`` is iterated over.

    Args:
        found: The result of ``find_folder_tables``.
        options: Names of columns, and the task.
        split: The split of all photos, if the tables do not determine it.

    Raises:
        DataError: A table is not one of labels, or they are for different tasks.
        ConfigError: The task, the target and the columns contradict each other.
    """
    parts = _read(found, options, split)
    found_tasks = {part.task for part in parts}
    several = [name for name in found_tasks if tasks.of(name).has_labels]
    if several and len(found_tasks) == 2 and any(tasks.of(name).has_class for name in found_tasks):
        # One-hot columns, and the rows of one split have exactly one class each.
        parts = _read(found, dataclasses.replace(options, task=several[0]), split)
    elif len(found_tasks) > 1:
        raise DataError(
            f"The tables in {found.root!r} are for different tasks: {', '.join(sorted(found_tasks))}."
        )
    first = parts[0]
    labels = Labels(found.root, first.task, targets=first.targets, one_object_each=first.one_object_each)
    names = listed([Path(path).name for path in found.splits], 3)
    labels.form = f"{counted(len(parts), 'table')} in {found.root!r}: {names}"
    labels.written = _written(parts, labels, found)
    return labels


def _read(found: FolderTables, options: Options, split: str | None) -> list[Labels]:
    return [read_table(path, options, split or own) for path, own in found.splits.items()]


def _written(parts: Sequence[Labels], labels: Labels, found: FolderTables) -> Iterator[Written]:
    in_folders = [None, *SPLIT_OF_FOLDER] if set(found.splits.values()) == {None} else []
    is_told = False
    for part in parts:
        for written in part.written:
            if in_folders and written.split is None:
                folder = _top(written.path, found.root)
                if own := SPLIT_OF_FOLDER.get(folder.lower()):
                    written, is_told = dataclasses.replace(written, split=own), True
            yield written
        labels.found += part.found
        labels.errors += part.errors
        labels.ignored += part.ignored
        labels.notes += part.notes
    if is_told:
        labels.notes.append("Splits are the names of the upper folders of the photos.")


def _top(path: str, root: str) -> str:
    """Return the name of the upper folder of a photo below the root; empty if it has none."""
    try:
        parts = Path(path).relative_to(root).parts
    except ValueError:
        return ""
    return parts[0] if len(parts) > 1 else ""


def _folders(root: str) -> list[Path]:
    try:
        return sorted(each for each in Path(root).iterdir() if each.is_dir())
    except OSError as error:
        raise DataError(
            f"The folder {root!r} cannot be listed: {error.strerror}. Make it readable."
        ) from error


def _named(folder: Path) -> list[Path]:
    found = [folder / name for name in (*_NAMES, _CREATE_ML) if (folder / name).is_file()]
    if (folder / "data").is_dir() and is_fiftyone_file(folder / _FIFTYONE):
        found.append(folder / _FIFTYONE)
    return found


def _shards(root: Path) -> dict[str, str | None]:
    """Return the Parquet files of a folder, or of ``data`` in it, with the splits in their names."""
    for folder in (root, root / "data"):
        shown = (each for each in folder.glob("*") if not each.name.startswith("."))
        if paths := [each for each in shown if is_parquet(str(each)) and each.name != "metadata.parquet"]:
            return {str(path): _split_of(path) for path in sorted(paths)}
    return {}


def _split_of(path: Path) -> str | None:
    match = _SHARD.fullmatch(path.name)
    return split_in_name(match["name"] if match else path.stem)
