"""Finds the column with the folder of each photo, in tables that have only its name in another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from headstart.data.sources.tabular import Table

_NAMES: Final = {
    *("relativepath", "folder", "folderpath", "foldername", "subfolder", "directory", "dir", "dirname"),
    *("imagefolder", "imagedir", "pathname", "imagepathname"),
}


def find_folder_column(table: Table, image: str, taken: Sequence[str]) -> str | None:
    """Return the column whose folders make the names of photos unambiguous; None if there is none.

    Cameras start counting again in each folder, so that ``IMG_0001.JPG`` exists in many. The column counts
    only if the names contain no folders, and some of them occur in several of its folders.

    Args:
        table: The table, which is read once if there is a column with a usual name for folders.
        image: The column of photos.
        taken: Columns with another meaning.
    """
    likely = [name for name in table.columns if _plain(name) in _NAMES and name not in (image, *taken)]
    paired = image.replace("FileName", "PathName")  # of CellProfiler: Image_PathName_DAPI
    if paired != image and paired in table.columns:
        likely = [paired]
    if len(likely) != 1 or image in table.photos:
        return None
    (column,) = likely
    folder_of: dict[str, str] = {}
    is_ambiguous = False
    for _, cells in table.rows([image, column], []):
        name, folder = cells.get(image), cells.get(column)
        if not isinstance(name, str) or not isinstance(folder, str) or {"/", "\\"} & set(name):
            return None
        is_ambiguous |= folder_of.setdefault(name.strip(), folder) != folder
    return column if is_ambiguous else None


def joined(folder: object, name: str) -> str:
    """Return the path of a photo, with the separators of the file."""
    above = folder.strip().replace("\\", "/").rstrip("/") if isinstance(folder, str) else ""
    return f"{above}/{name.strip()}" if above else name


def _plain(name: str) -> str:
    return name.strip().casefold().replace(" ", "").replace("_", "").replace("-", "")
