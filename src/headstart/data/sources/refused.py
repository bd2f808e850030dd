"""Names the common forms that are not supported, with what to do instead."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final

from headstart.data.sources.folder_advice import are_dates
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
    ".mdb",
)
_WITHOUT_SUFFIX: Final = (  # files of arrays that have no suffix of their own
    re.compile(r".*\.tfrecords?-\d+-of-\d+", re.IGNORECASE),  # TensorFlow Datasets
    re.compile(r"data_batch_\d|test_batch|batches\.meta"),  # CIFAR-10
    re.compile(r".*-idx\d-ubyte(\.gz)?"),  # MNIST
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
    ".arrow": "Arrow of Hugging Face's save_to_disk. Write Parquet (datasets.load_from_disk(FOLDER)['train']"
    ".to_parquet('train.parquet')), and name that",
    **dict.fromkeys(
        (".xlsx", ".xls", ".ods", ".numbers"), "a spreadsheet. Save it as CSV (UTF-8), and name that"
    ),
}

# Names in the first bytes of such a file, with their colon as they may also be classes, and what it is.
_JSON_OF_TOOLS: Final = (
    *(
        (
            (mark,),
            "a file of VGG Image Annotator (VIA), which is not supported. Export COCO (Annotation, Export "
            "Annotations (COCO format)).",
        )
        for mark in (rb'"_via_settings"\s*:', rb'"_via_img_metadata"\s*:', rb'"shape_attributes"\s*:')
    ),
    *(
        ((mark,), "JSON of V7 Darwin, which is not supported. Export COCO or Pascal VOC.")
        for mark in (rb'"schema_ref"\s*:[^,}]*darwin', rb'"workview_url"\s*:')
    ),
    (
        (rb'"detection_categories"\s*:', rb'"detections"\s*:'),
        "what MegaDetector has found, which are no labels of a person. Correct it, and write a table with "
        "the columns image and label (or labels, as in a|b), or COCO.",
    ),
    (
        (rb'"regions"\s*:', rb'"boundingBox"\s*:', rb'"asset'),
        "VoTT's own JSON, which is not supported. Choose Pascal VOC in VoTT's export settings, and export "
        "again.",
    ),
    ((rb'"classTitle"\s*:',), "JSON of Supervisely, which is not supported. Export COCO or Pascal VOC."),
    (
        (rb'"items"\s*:', rb'"categories"\s*:', rb'"label_id"\s*:'),
        "JSON of Datumaro, which is not supported. Convert its folder to class folders or COCO (datum "
        "convert -i FOLDER -if datumaro -f imagenet -o NEW, or -f coco_instances).",
    ),
)

# Columns that such a table has, and what it is.
_TABLES_OF_TOOLS: Final = (
    (
        {"region_shape_attributes", "region_attributes"},
        "a CSV of VGG Image Annotator (VIA), which is not supported. Export COCO (Annotation, Export "
        "Annotations (COCO format)).",
    ),
    (
        {"ImageID", "LabelName", "Confidence"},
        "a table of Open Images, where a row with Confidence 0 says that the class is absent, and boxes are "
        "fractions. Write a table with the columns image and labels (as in a|b) of the rows with Confidence "
        "1, or boxes as COCO.",
    ),
    (
        {"data_row", "projects"},
        "an export of Labelbox, which is not supported. Write a table with the columns image and label (of "
        "external_id and the answer's name), or boxes as COCO.",
    ),
    (
        {"conversations"},
        "a file of conversations about photos (as for LLaVA), which are not labels. Write a table with the "
        "columns image and label.",
    ),
    (
        {"emotion", "pixels"},
        "a table with pixels as text (FER2013), not photos. Save each row as PNG in a folder of its class.",
    ),
)

_ONE_COLUMN_OF_BOXES: Final = ("bbox", "bboxes", "box", "boxes", "bounding_box", "bounding box")
_CORNER_AND_SIZE: Final = (
    ("x", "y", "width", "height"),
    ("x", "y", "w", "h"),
    ("left", "top", "width", "height"),
)

_MASKS: Final = frozenset(
    {"mask", "masks", "segmentation", "segmentations", "segmentationclass", "segmentationobject", "trimaps"}
)
_HOLDS_IMAGES: Final = frozenset(
    {"image", "images", "img", "imgs", "jpegimages", "photos", "original", "rgb"}
)
_OTHER: Final = frozenset({"annotations", "labels", "imagesets"})


def advice_on(path: str) -> str | None:
    """Return what a file is and what to do with it, if it is of a common kind that is not supported."""
    return _ADVICE.get(_kind_of(path))


def advice_on_files(paths: Iterable[str]) -> str:
    """Return a sentence about the most frequent kind of unsupported files; empty if there are none."""
    found = [path for path in paths if _kind_of(path) in _ADVICE]
    if not found:
        return ""
    kind, number = Counter(map(_kind_of, found)).most_common(1)[0]
    each = "each is " if number > 1 else "it is "
    if kind == _ARRAYS[0]:
        example = next(Path(path).name for path in found if _kind_of(path) == kind)
        return f" {number} of the files are like {example!r}: {each}{_ADVICE[kind]}."
    return f" {number} of the files end in {kind}: {each}{_ADVICE[kind]}."


def _kind_of(path: str) -> str:
    """Return the suffix of a file; that of arrays for known files of arrays with other names."""
    if any(pattern.fullmatch(Path(path).name) for pattern in _WITHOUT_SUFFIX):
        return _ARRAYS[0]
    return Path(path).suffix.lower()


def refuse_json(path: str) -> None:
    """Refuse JSON of tools whose labels are not supported.

    Raises:
        DataError: It is such a file; the message says what to export instead.
    """
    if text := _unsupported_json(path):
        raise DataError(text)


def refuse_table(path: str, columns: Collection[str]) -> None:
    """Refuse tables of tools and data sets whose labels cannot be read from their columns.

    A table with the columns ``image`` and ``label`` or ``labels`` is accepted: somebody has written it for
    Headstart.

    Raises:
        DataError: It is such a table; the message says what to do instead.
    """
    is_own = "image" in columns and not {"label", "labels"}.isdisjoint(columns)
    for needed, text in _TABLES_OF_TOOLS:
        if needed <= set(columns) and not is_own:
            raise DataError(f"{path!r} is {text}")


def refused_boxes(path: str, columns: Collection[str]) -> str:
    """Return what to do about a table whose boxes are not in columns of their edges; empty for others."""
    plain = {name.strip().casefold(): name for name in columns}
    edges = "xmin, ymin, xmax and ymax, one row per box"
    if name := next((plain[each] for each in _ONE_COLUMN_OF_BOXES if each in plain), None):
        return (
            f"{path!r} has boxes in one column, {name!r}: left, top, width and height, or edges? "
            f"Write four columns instead: {edges}."
        )
    found = next((each for each in _CORNER_AND_SIZE if set(each) <= plain.keys()), ())
    if found:
        return (
            f"{path!r} has boxes in the columns {', '.join(plain[each] for each in found)}, but edges are "
            f"wanted: {edges}. If {found[0]} and {found[1]} are the corner at the top left, xmax is "
            f"{found[0]} + {found[2]}, and ymax is {found[1]} + {found[3]}."
        )
    return ""


def _unsupported_json(path: str) -> str:
    """Return the message about JSON of a tool that is not supported, by its first bytes; else empty."""
    try:
        with open(path, "rb") as file:
            start = file.read(2**16)
            file.seek(max(0, Path(path).stat().st_size - 4096))
            ends = start + file.read()  # the photo itself may be in between
    except OSError:
        return ""
    if re.search(rb'"shapes"\s*:', start) and re.search(rb'"imagePath"\s*:', ends):
        return labelme(path)
    for marks, text in _JSON_OF_TOOLS:
        if all(re.search(mark, start) for mark in marks):
            return f"{path!r} is {text}"
    return ""


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


def names_photos(path: str) -> bool:
    """Return whether a text file names photos in its first bytes, as one with labels does."""
    try:
        with open(path, "rb") as file:
            return re.search(rb"\.(jpe?g|png|webp|tiff?|bmp)\b", file.read(2**16), re.IGNORECASE) is not None
    except OSError:
        return False


def unsupported_in(folder: str) -> str:
    """Return the message about the first file of a tool that is not supported; empty if there is none."""
    for place in (folder, *sorted(each.path for each in os.scandir(folder) if each.is_dir())):
        try:
            names = sorted(each.name for each in os.scandir(place))
        except OSError:
            continue
        for name in names:
            path = str(Path(place, name))
            if name.lower().endswith(".xml") and is_cvat(path):
                return cvat(path)
            if name.lower().endswith(".json") and (text := _unsupported_json(path)):
                return text
    return ""


_SPLIT: Final = re.compile(
    r"(train|training|test|testing|val|valid|validation)[ _-]?"
    r"(images?|imgs?|jpe?gs?|photos?|pictures|set|data|dir)?[ _-]?\d*"
)
_TABLES: Final = (".csv", ".tsv", ".json", ".jsonl", ".parquet")


def refuse_dates(root: str, class_names: Collection[str]) -> None:
    """Refuse folders that are all named by a date, as cameras and phones do.

    Raises:
        DataError: They are.
    """
    if are_dates(class_names):
        shown = ", ".join(map(repr, sorted(class_names)[:3]))
        raise DataError(
            f"The folders in {root!r} have dates as names ({shown}), which are hardly classes. Put the "
            "photos of each class into a folder of its own; or, if the dates are the classes, say so: "
            "--task classification"
        )


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
            f"supported. For classes, boxes or numbers, name the labels in a table; docs/reference/data.md "
            f"shows all forms."
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
