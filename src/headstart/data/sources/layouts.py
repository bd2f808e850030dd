"""Names the layouts of known data sets and tools that cannot be read as they are, with what to do instead.

They are looked for only when a folder cannot be used, so that nothing that can be read is refused by its name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from headstart.data.sources.split_names import SPLIT_OF_FOLDER
from headstart.images.formats import IMAGE_SUFFIXES

_MOST_LISTED: Final = 2000  # files of a folder; enough to see what kind of files it holds


def advice_on_layout(root: str) -> str:
    """Return what a folder is and what to do, if it has a known layout; empty if it has none."""
    folder = Path(root)
    names = _names_in(folder)
    for advice in (_pets, _hugging_face, _cifar_100, _supervisely, _fiftyone, _tiny_imagenet, _mvtec, *_LAST):
        if text := advice(folder, names):
            return text
    return ""


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
        f"{str(folder)!r} is Oxford-IIIT Pet, whose breeds are in the names of the photos: headstart train "
        f"{str(folder / 'images')!r} --label-from '(?P<label>.+)_[0-9]+[.]jpg'. For boxes of heads: --task box"
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
        f"{str(folder)!r} is a project of Supervisely, whose JSON is not supported. Export it as COCO or Pascal "
        "VOC, which are apps of Supervisely."
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
        f"{str(folder)!r} has the labels of its validation photos in val_annotations.txt (Tiny ImageNet), which "
        f"is not supported. Hold out training photos instead: headstart train {str(folder / 'train')!r}; or move "
        "the photos in val/images into class folders in val, and remove test, which has no labels."
    )


def _mvtec(folder: Path, names: _Names) -> str:
    place = next((each for each in (folder, *_folders(names)) if (each / "train" / "good").is_dir()), None)
    if place is None or not (place / "ground_truth").is_dir():
        return ""
    return (
        f"{str(place)!r} is for the detection of anomalies (MVTec AD: only good photos to train on), which is "
        f"not supported. To learn to classify the defects, name the folder with all classes: headstart train "
        f"{str(place / 'test')!r}"
    )


def _images_of_classes(folder: Path, names: _Names) -> str:
    """CUB-200, Stanford Dogs and many others: class folders in ``images``, beside folders without photos."""
    images = next((names[name] for name in ("images", "image", "jpg", "photos") if name in names), None)
    if images is None or not images.is_dir():
        return ""
    inside = _folders(_names_in(Path(images.path)))
    classes = [each for each in inside if each.name.lower() not in SPLIT_OF_FOLDER and _has_photos(each)]
    if len(classes) < 2:
        return ""
    return f"If the folders in {images.path!r} are the classes, name it: headstart train {images.path!r}"


def _webdataset(folder: Path, names: _Names) -> str:
    for place, inside in ((each, _names_in(each)) for each in (folder, *_folders(names)[:20])):
        stems = {Path(name).stem for name in inside if Path(name).suffix in IMAGE_SUFFIXES}
        if any(Path(name).suffix == ".cls" and Path(name).stem in stems for name in inside):
            return (
                f"{str(place)!r} holds samples of WebDataset (.cls beside photos), which are read from tar files: "
                f"tar --sort=name -cf samples.tar -C {str(place)!r} ."
            )
    return ""


def _yolo_without_names(folder: Path, names: _Names) -> str:
    for place, inside in ((each, _names_in(each)) for each in (folder, *_folders(names)[:20])):
        stems = {Path(name).stem for name in inside if Path(name).suffix in IMAGE_SUFFIXES}
        for name, entry in inside.items():
            if Path(name).suffix == ".txt" and Path(name).stem in stems and _is_yolo(entry.path):
                return (
                    f"{str(place)!r} holds text files like those of YOLO ({entry.name!r}), but no file with the "
                    f"names of the classes. Write {str(folder / 'classes.txt')!r} with a name per line."
                )
    return ""


def _is_yolo(path: str) -> bool:
    try:
        with open(path, encoding="utf-8-sig") as file:
            parts = file.readline(200).split()
        return len(parts) == 5 and parts[0].isdigit() and all(0 <= float(part) <= 1 for part in parts[1:])
    except (OSError, ValueError):
        return False


def _has_photos(folder: Path) -> bool:
    return any(Path(name).suffix in IMAGE_SUFFIXES for name in _names_in(folder))


_LAST: Final[tuple[Callable[[Path, _Names], str], ...]] = (
    _webdataset,
    _yolo_without_names,
    _images_of_classes,
)
