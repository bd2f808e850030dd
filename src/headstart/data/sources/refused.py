"""Names the common forms that are not supported, with what to do instead."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from headstart.errors import DataError

_ARCHIVES: Final = (".zip", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")
_VIDEOS: Final = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".3gp")
_ARRAYS: Final = (
    ".npz",
    ".npy",
    ".h5",
    ".hdf5",
    ".mat",
    ".pkl",
    ".pickle",
    ".tfrecord",
    ".tfrecords",
    ".lmdb",
)

_ADVICE: Final[Mapping[str, str]] = {
    **dict.fromkeys(_ARCHIVES, "an archive. Unpack it, and name the folder"),
    **dict.fromkeys(_VIDEOS, "a video. Save frames as JPEG (ffmpeg -i VIDEO -r 1 frames/%05d.jpg)"),
    **dict.fromkeys(_ARRAYS, "arrays, not photos. Save each photo as PNG or JPEG in a folder of its class"),
    **dict.fromkeys(
        (".dcm", ".dicom", ".nii"),
        "a medical image (DICOM or NIfTI). Convert it to PNG, with the window you need",
    ),
    **dict.fromkeys((".jxl",), "JPEG XL. Save the photos as JPEG or PNG"),
    **dict.fromkeys(
        (".xlsx", ".xls", ".ods", ".numbers"), "a spreadsheet. Save it as CSV (UTF-8), and name that"
    ),
}

_MASKS: Final = frozenset(
    {"mask", "masks", "segmentation", "segmentations", "segmentationclass", "segmentationobject", "trimaps"}
)
_HOLDS_IMAGES: Final = frozenset(
    {"image", "images", "img", "imgs", "jpegimages", "photos", "original", "rgb"}
)
_OTHER: Final = frozenset({"annotations", "labels", "imagesets"})


def advice_on(path: str) -> str | None:
    """Return what a file is and what to do with it, if it is of a common kind that is not supported."""
    return _ADVICE.get(Path(path).suffix.lower())


def advice_on_files(paths: Iterable[str]) -> str:
    """Return a sentence about the most frequent kind of unsupported files; empty if there are none."""
    counts = Counter(suffix for path in paths if (suffix := Path(path).suffix.lower()) in _ADVICE)
    if not counts:
        return ""
    suffix, number = counts.most_common(1)[0]
    each = "each is " if number > 1 else "it is "
    return f" {number} of the files end in {suffix}: {each}{_ADVICE[suffix]}."


def refuse_json(path: str, content: Any) -> None:
    """Refuse JSON of tools whose labels are not supported.

    Raises:
        DataError: It is such a file; the message says what to export instead.
    """
    if not isinstance(content, dict):
        return
    if isinstance(content.get("shapes"), list) and "imagePath" in content:
        raise DataError(labelme(path))
    if "_via_img_metadata" in content or "_via_settings" in content:
        raise DataError(
            f"{path!r} is a project of VGG Image Annotator (VIA), which is not supported. Export COCO."
        )


def labelme(path: str) -> str:
    """Return the message about a file of labelme."""
    return (
        f"{path!r} is labelme's JSON of one photo, which is not supported. Convert the folder to COCO "
        "(labelme2coco FOLDER), or draw rectangles and save Pascal VOC."
    )


def cvat(path: str) -> str:
    """Return the message about the XML file of CVAT."""
    return (
        f"{path!r} is CVAT's own XML, which is not supported. Export the task again, as COCO 1.0 or "
        "Pascal VOC 1.1."
    )


def is_cvat(path: str) -> bool:
    """Return whether an XML file is CVAT's, by its first bytes."""
    try:
        with open(path, "rb") as file:
            return b"<annotations" in file.read(1024)
    except OSError:
        return False


def unsupported_in(folder: str) -> str:
    """Return the message about the first file of labelme or CVAT in a folder; empty if there is none."""
    for place in (folder, *sorted(each.path for each in os.scandir(folder) if each.is_dir())):
        try:
            names = sorted(each.name for each in os.scandir(place))
        except OSError:
            continue
        for name in names:
            path = str(Path(place, name))
            if name.lower().endswith(".xml") and is_cvat(path):
                return cvat(path)
            if name.lower().endswith(".json") and _is_labelme(path):
                return labelme(path)
    return ""


_SPLIT: Final = re.compile(
    r"(train|training|test|testing|val|valid|validation)[ _-]?"
    r"(images?|imgs?|jpe?gs?|photos?|pictures|set|data|dir)?[ _-]?\d*"
)
_TABLES: Final = (".csv", ".tsv", ".json", ".jsonl", ".parquet")


def _is_labelme(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            start = file.read(2**16)
            file.seek(max(0, Path(path).stat().st_size - 4096))
            end = file.read()  # the photo itself may be in between
    except OSError:
        return False
    return b'"shapes"' in start and b'"imagePath"' in start + end


def refuse_masks(root: str, class_names: Iterable[str]) -> None:
    """Refuse folders that are not classes: of photos beside folders of masks, or of splits without classes.

    Raises:
        DataError: The class names are those of such folders.
    """
    names = {name.casefold() for name in class_names}
    shown = ", ".join(sorted(names))
    if names & (_MASKS | _OTHER) and names & _HOLDS_IMAGES and names <= _MASKS | _HOLDS_IMAGES | _OTHER:
        raise DataError(
            f"{root!r} holds photos and segmentation masks (folders {shown}), and segmentation is not "
            f"supported. For classes, boxes or numbers, name the labels in a table; docs/data.md shows all "
            f"forms."
        )
    if len(names) > 1 and all(map(_SPLIT.fullmatch, names)):
        tables = sorted(each for each in Path(root).glob("*.*") if each.suffix.lower() in _TABLES)
        named = ", ".join(repr(str(each)) for each in tables[:3])
        where = f"in a table, name it: here are {named}" if tables else "in a table, name it"
        raise DataError(
            f"{root!r} holds folders of splits ({shown}) with photos in them, but no class folders. If the "
            f"labels are {where}. If they are in the names of the photos, say how: --label-from REGEX. If "
            f"these really are classes, rename the folders."
        )
