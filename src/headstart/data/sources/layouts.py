"""Names the layouts of known data sets and tools that cannot be read as they are, with what to do instead.

They are looked for only when a folder cannot be used, so that nothing readable is refused by its name.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from headstart.data.sources.split_names import SPLIT_OF_FOLDER
from headstart.errors import shell_command
from headstart.images.formats import IMAGE_SUFFIXES

_MOST_LISTED: Final = 2000  # files of a folder; enough to see what kind of files it holds


def advice_on_layout(root: str) -> str:
    """Return what a folder is and what to do, if it has a known layout; empty if it has none."""
    folder = Path(root)
    names = _names_in(folder)
    found = (
        *(_pets, _hugging_face, _cifar_100, _supervisely, _fiftyone, _tiny_imagenet, _mvtec),
        *(_images_of_classes, _webdataset, _kitti, _yolo_without_names),
    )
    return next(filter(None, (advice(folder, names) for advice in found)), "")


def _names_in(folder: Path) -> dict[str, os.DirEntry[str]]:
    """Return the files and folders in a folder by their names in lower case; none if it cannot be listed."""
    found: dict[str, os.DirEntry[str]] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                found[entry.name.lower()] = entry
                if len(found) == _MOST_LISTED:
                    break
    except OSError:
        return {}
    return found


_Names = Mapping[str, os.DirEntry[str]]


def _folders(names: _Names) -> list[Path]:
    return sorted(Path(each.path) for each in names.values() if each.is_dir())


def refused_pets(root: str) -> str:
    """Return what to do with Oxford-IIIT Pet, whose XML files are boxes of some heads, not breeds."""
    folder = Path(root)
    return _pets(folder, _names_in(folder))


def _pets(folder: Path, names: _Names) -> str:
    marks = (folder / "annotations" / "list.txt", folder / "annotations" / "trimaps", folder / "images")
    if not all(each.exists() for each in marks):
        return ""
    return (
        f"{str(folder)!r} is Oxford-IIIT Pet, whose breeds are in the names of the photos: "
        f"{shell_command('train', folder / 'images')} --label-from '(?P<label>.+)_[0-9]+[.]jpg'. For boxes "
        "of heads: --task box"
    )


def _hugging_face(folder: Path, names: _Names) -> str:
    if "dataset_dict.json" not in names and not {"state.json", "dataset_info.json"} <= names.keys():
        return ""
    split = "['train']" if "dataset_dict.json" in names else ""
    return (
        f"{str(folder)!r} was written by Hugging Face's save_to_disk, which is not supported. Write Parquet: "
        f"datasets.load_from_disk({str(folder)!r}){split}.to_parquet('train.parquet')"
    )


def _cifar_100(folder: Path, names: _Names) -> str:
    if not {"train", "test", "meta"} <= names.keys() or any(
        names[name].is_dir() for name in ("train", "meta")
    ):
        return ""
    return (
        f"{str(folder)!r} holds Python's files of CIFAR-100: arrays, not photos. Save each photo as PNG in a "
        "folder of its class."
    )


def _supervisely(folder: Path, names: _Names) -> str:
    places = [folder, *(_folders(names) if "meta.json" in names else [])]
    if not any((place / "img").is_dir() and (place / "ann").is_dir() for place in places):
        return ""
    return (
        f"{str(folder)!r} is a project of Supervisely, whose JSON is not supported. Export it with its apps "
        "to COCO or Pascal VOC."
    )


def _fiftyone(folder: Path, names: _Names) -> str:
    if not {"metadata.json", "samples.json"} <= names.keys():
        return ""
    return (
        f"{str(folder)!r} is a FiftyOneDataset, which is not supported. Export class folders "
        "(dataset_type=fiftyone.types.ImageClassificationDirectoryTree) or boxes "
        "(fiftyone.types.COCODetectionDataset)."
    )


def _tiny_imagenet(folder: Path, names: _Names) -> str:
    if not (folder / "val" / "val_annotations.txt").is_file():
        return ""
    return (
        f"{str(folder)!r} has the labels of its validation photos in val_annotations.txt (Tiny ImageNet), "
        "which is not supported. Hold out training photos instead: "
        f"{shell_command('train', folder / 'train')}; or move the photos in val/images into class folders in "
        "val, and remove test, which has no labels."
    )


def _mvtec(folder: Path, names: _Names) -> str:
    place = next((each for each in (folder, *_folders(names)) if (each / "train" / "good").is_dir()), None)
    if place is None or not (place / "ground_truth").is_dir():
        return ""
    return (
        f"{str(place)!r} is for the detection of anomalies (MVTec AD: only good photos to train on), which "
        "is not supported. To learn to classify the defects, name the folder with all classes: "
        f"{shell_command('train', place / 'test')}"
    )


def _images_of_classes(folder: Path, names: _Names) -> str:
    """CUB-200 and Stanford Dogs: class folders in ``images``, beside files or folders of annotations."""
    if "images" not in names or not {"image_class_labels.txt", "annotation"} & names.keys():
        return ""
    images = names["images"].path
    return f"The class folders are in {images!r}, so name that folder: {shell_command('train', images)}"


def _webdataset(folder: Path, names: _Names) -> str:
    for place, inside in _with_photos(folder, names):
        stems = {Path(name).stem for name in inside if Path(name).suffix in IMAGE_SUFFIXES}
        if any(Path(name).suffix == ".cls" and Path(name).stem in stems for name in inside):
            return (
                f"{str(place)!r} holds samples of WebDataset (.cls beside photos), which are read from tar "
                f"files. Pack them: tar --sort=name -cf samples.tar -C {shlex.quote(str(place))} ."
            )
    return ""


def _kitti(folder: Path, names: _Names) -> str:
    for name, entry in sorted(names.items()):
        if not name.startswith("label") or not entry.is_dir():
            continue
        texts = [each for each in _names_in(Path(entry.path)).values() if each.name.endswith(".txt")]
        if texts and _is_kitti(min(each.path for each in texts)):
            return (
                f"{entry.path!r} has labels of KITTI (type, truncated, occluded, alpha, left, top, right, "
                "bottom, ...), which are not supported. Write a table with a row per box and the columns "
                "image, label, xmin, ymin, xmax and ymax."
            )
    return ""


def _is_kitti(path: str) -> bool:
    try:
        with open(path, encoding="utf-8-sig") as file:
            parts = file.readline(400).split()
        return len(parts) in (15, 16) and not parts[0].isdigit() and bool([*map(float, parts[1:])])
    except (OSError, ValueError):
        return False


def _yolo_without_names(folder: Path, names: _Names) -> str:
    for place, inside in _with_photos(folder, names):
        stems = {Path(name).stem for name in inside if Path(name).suffix in IMAGE_SUFFIXES}
        for name, entry in inside.items():
            if Path(name).suffix == ".txt" and Path(name).stem in stems and _is_yolo(entry.path):
                return (
                    f"{str(place)!r} holds text files like those of YOLO ({entry.name!r}), but no file with "
                    f"the names of the classes. Write {str(folder / 'classes.txt')!r} with a name per line."
                )
    return ""


def _is_yolo(path: str) -> bool:
    try:
        with open(path, encoding="utf-8-sig") as file:
            parts = file.readline(200).split()
        return len(parts) == 5 and parts[0].isdigit() and all(0 <= float(part) <= 1 for part in parts[1:])
    except (OSError, ValueError):
        return False


def _with_photos(folder: Path, names: _Names) -> Iterator[tuple[Path, _Names]]:
    """Yield a folder and the folders of its splits, which may hold photos, with what is in them."""
    yield folder, names
    yield from ((each, _names_in(each)) for each in _folders(names) if each.name.lower() in SPLIT_OF_FOLDER)
