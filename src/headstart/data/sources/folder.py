"""Lists the photos of class folders, with or without train/val/test folders above them.

Only names are read here and, for unknown suffixes, first bytes; ``data/check.py`` reads the photos.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headstart.columns import counted, listed
from headstart.data.sources.albums import refuse_album_of_all
from headstart.data.sources.folder_advice import (
    are_dates,
    classes_below,
    notes_on_deeper_names,
    notes_on_levels,
    on_same_subfolders,
    without_training_photos,
)
from headstart.data.sources.refused import advice_on_files
from headstart.data.sources.similar import similar_classes
from headstart.data.sources.split_names import SPLIT_OF_FOLDER, splits_in_other_words
from headstart.data.sources.tree import Tree
from headstart.data.sources.trees import tree_at
from headstart.data.sources.written import classes_to_learn
from headstart.errors import DataError, shell_command
from headstart.images.find_tars import is_same, root_of
from headstart.images.photo import Photo
from headstart.packed import Packed
from headstart.records import Candidate, Listing

_MOST_NAMED: Final = 10  # in one error message

_MOST_COMPARED: Final = 100  # folders with one subfolder's name, so that many classes take no time


def read_folder(
    root: str | os.PathLike[str],
    val: str | os.PathLike[str] | None = None,
    *,
    for_training: bool = True,
    classes_on_top: bool = False,
) -> Listing:
    """List the photos of a folder and their classes.

    The folder, or the tar files, contain class folders, or train, val and test folders (also training, valid,
    validation, testing) with class folders in them. Folders with other names of splits, such as
    ``training_set`` or ``seg_test``, are splits if the training folder contains class folders. A folder that
    contains only a folder of the same name is skipped. Photos may be in further folders below their class
    folder. Symbolic links are followed, but no folder is entered twice. Hidden files and folders, and the
    folders of training runs, are ignored. Classes are matched across splits by name.

    Args:
        root: The folder, or tar files as in ``find_shards``.
        val: Another folder of class folders, with the validation photos.
        for_training: Also check that a model can be trained: training photos of at least two classes, no
            empty class, and no class that occurs only in another split.
        classes_on_top: Accept folders with the same subfolders as classes. By default they are refused,
            because they may be domains or folds, and the subfolders the classes.

    Raises:
        DataError: The folders cannot be used; the message lists every problem.
    """
    root, val = os.fsdecode(root), None if val is None else os.fsdecode(val)
    if val is not None and is_same(root, val):
        raise DataError(f"{val!r} cannot be both the photos and the validation photos.")
    tree, val_tree = _walked(root, val)
    trees = [tree] if val_tree is None else [tree, val_tree]
    sources, notes = _sources(tree, val_tree, classes_on_top)
    notes += notes_on_deeper_names(tree, Path(sources[0].path).relative_to(tree.root).parts, notes)
    if for_training:
        _require_learnable(sources, classes_on_top)
    elif not any(source.photos for source in sources):
        raise DataError(_no_class_folders(sources[0]))

    without_class = _without_class(trees, sources)
    candidates = _candidates(sources)
    return Listing(
        root=root_of(root),
        candidates=candidates,
        class_names=classes_to_learn(candidates),
        ignored=(*without_class, *(path for each in trees for path in each.ignored)),
        without_class=tuple(without_class),
        found=sum(each.found for each in trees),
        notes=tuple(notes + similar_classes(candidates)),
        form="; validation photos: ".join(f"class folders in {each.root!r}" for each in trees),
    )


def _candidates(sources: Sequence[_Source]) -> Packed[Candidate]:
    found = (
        Candidate(Photo(photo.path), photo.class_name, source.split)
        for source in sources
        for photo in source.photos
    )
    return Packed(Candidate, found)


def _refuse_album_of_all(source: _Source) -> None:
    if source.split is None:
        photos = source.photos
        names = zip(photos.column("class_name"), photos.column("path"), strict=True)
        refuse_album_of_all(source.path, names)


def _without_class(trees: Sequence[Tree], sources: Sequence[_Source]) -> list[str]:
    """Return the paths of images in no class folder."""
    if sum(len(each.images) for each in trees) == sum(len(source.photos) for source in sources):
        return []
    with_class = {path for source in sources for path in source.photos.column("path")}
    return [image.path for each in trees for image in each.images if image.path not in with_class]


def _walked(root: str, val: str | None) -> tuple[Tree, Tree | None]:
    """Return the trees of all photos and, if they are elsewhere, of the validation photos."""
    entered: set[tuple[int, int]] = set()
    val_tree = None if val is None else tree_at(val, entered)  # first, as it may lie inside the root
    tree = tree_at(root, entered)
    if not tree.images and not (val_tree and val_tree.images):
        usual = " Headstart wants a folder of class folders, such as photos/cat and photos/dog."
        raise DataError(
            f"No images in {root!r}: {counted(tree.found, 'file')} found, none with an image's suffix or "
            f"first bytes.{advice_on_files(tree.ignored) or usual}"
        )
    return tree, val_tree


@dataclass(frozen=True, slots=True)
class _Photo:
    """A photo in a class folder."""

    class_name: str
    path: str


@dataclass(frozen=True, slots=True)
class _Source:
    """A folder of class folders.

    Attributes:
        path: The folder.
        split: The split of its photos; None if the data do not determine it.
        photos: Its photos with their classes.
        folders_of: The class folders by class name.
    """

    path: str
    split: str | None
    photos: Packed[_Photo]
    folders_of: dict[str, list[str]]

    @classmethod
    def of(cls, tree: Tree, above: Sequence[str], split: str | None) -> _Source:
        """Collect the class folders below the folder with the path ``above``."""
        above, depth = tuple(above), len(above)
        folders_of = defaultdict(list)
        for names in tree.folders:
            if len(names) == depth + 1 and names[:depth] == above:
                folders_of[_class_name(names[depth])].append(names[depth])
        photos = (
            _Photo(_class_name(image.folders[depth]), image.path)
            for image in tree.images
            if len(image.folders) > depth and image.folders[:depth] == above
        )
        return cls(str(Path(tree.root, *above)), split, Packed(_Photo, photos), dict(folders_of))


def _class_name(folder: str) -> str:
    """Return the name of a folder as valid Unicode in normal form NFC, the same on all systems."""
    name = unicodedata.normalize("NFC", os.fsencode(folder).decode("utf-8", "backslashreplace"))
    return sys.intern(name)  # one object for all photos of the class


def _sources(tree: Tree, val_tree: Tree | None, classes_on_top: bool) -> tuple[list[_Source], list[str]]:
    """Find the class folders of each split; return them in the order train, val, test, and notes."""
    notes: list[str] = []
    above = _passed_through(tree, (), Path(tree.root).resolve().name)
    if above:
        notes.append(
            f"The folders in {str(Path(tree.root, *above))!r} are used, because it contains nothing else."
        )
    depth = len(above)
    top = [names[depth] for names in tree.folders if len(names) == depth + 1 and names[:depth] == above]
    with_images = set(tree.subfolders[above])
    inner = {name: _passed_through(tree, (*above, name), name) for name in with_images}
    classes_in = {name: tree.subfolders[names] for name, names in inner.items()}
    splits: dict[str, list[str]] = defaultdict(list)
    for name in top:
        if name.lower() in SPLIT_OF_FOLDER:
            splits[SPLIT_OF_FOLDER[name.lower()]].append(name)
    in_other_words = splits_in_other_words(top, classes_in)
    for split, names in in_other_words.items():
        splits[split] += [name for name in names if name not in splits[split]]
    neighbours = sorted(with_images - {name for names in splits.values() for name in names})

    with_folders = {
        names[depth] for names in tree.folders if len(names) > depth + 1 and names[:depth] == above
    }
    if neighbours and list(splits) == ["train"] and not with_folders & set(splits["train"]):
        splits.clear()  # photos of trains, between the buses and the cars
    _refuse_same_subfolders(tree, above, classes_in, neighbours, notes, classes_on_top and not splits)
    if not splits:
        sources = [_Source.of(tree, above, None if val_tree is None else "train")]
        notes += notes_on_levels(tree, above, with_images)
    elif neighbours and ("train" not in splits or len(splits) == 1):
        name = next(iter(splits.values()))[0]
        raise DataError(
            f"In {tree.root!r}, {name!r} is the name of a split, but its neighbours hold photos too: "
            f"{_named(neighbours)}. Move them into a 'train' folder beside {name!r}; "
            f"or, if {name!r} is a class, give its folder another name."
        )
    else:
        sources, further = _of_splits(tree, above, inner, splits, has_words=bool(in_other_words))
        notes += further
    if val_tree is not None:
        if "val" in splits:
            own = Path(tree.root, *above, *splits["val"])
            raise DataError(
                f"There are two validation sets, {str(own)!r} and {val_tree.root!r}. Leave one out."
            )
        passed = _passed_through(val_tree, (), Path(val_tree.root).resolve().name)
        sources.append(_Source.of(val_tree, passed, "val"))
    return sources, notes


def _of_splits(
    tree: Tree,
    above: tuple[str, ...],
    inner: Mapping[str, tuple[str, ...]],
    splits: Mapping[str, Sequence[str]],
    *,
    has_words: bool,
) -> tuple[list[_Source], list[str]]:
    """Return the class folders below folders of splits, and notes.

    Args:
        tree: All photos.
        above: The folder that contains the splits.
        inner: The folder with the classes of each of its folders.
        splits: Names of the folders of each split.
        has_words: Whether a split was recognised in a longer name.

    Raises:
        DataError: Two folders are the same split.
    """
    for split, names in splits.items():
        if len(names) > 1:
            raise DataError(f"In {tree.root!r}, {_named(names)} both mean {split}. Keep one.")
    folders = {split: names[0] for split, names in splits.items()}
    places = {split: inner.get(name, (*above, name)) for split, name in folders.items()}
    sources = [
        _Source.of(tree, places[split], split) for split in ("train", "val", "test") if split in places
    ]
    if not has_words:
        return sources, []
    taken = ", ".join(f"{folders[split]!r} is for {split}" for split in folders)
    return sources, [f"Folders are used as splits by their names: {taken}."]


def _passed_through(tree: Tree, names: tuple[str, ...], name: str) -> tuple[str, ...]:
    """Return the folder with the classes, skipping a folder that contains only one of its own name.

    Archives are often unpacked in this way: ``seg_train/seg_train/...``.
    """
    while not tree.num_photos_in[names] and len(tree.subfolders[names]) == 1:
        inner = (*names, next(iter(tree.subfolders[names])))
        if tree.num_photos_in[inner] or inner[-1].casefold() != name.casefold():
            break  # a class, or whatever it is
        names = inner
    return names


def _refuse_same_subfolders(
    tree: Tree,
    above: tuple[str, ...],
    classes_in: Mapping[str, Counter[str]],
    neighbours: Sequence[str],
    notes: list[str],
    classes_on_top: bool,
) -> None:
    """Refuse top folders with the same subfolders, because either level could be the classes."""
    if not classes_on_top and set(neighbours) == classes_in.keys():  # there are no splits
        _refuse_copies(tree, above, classes_in)
    holders: dict[str, list[str]] = defaultdict(list)
    for name, subfolders in classes_in.items():
        for subfolder in subfolders:
            holders[subfolder].append(name)
    alike: set[str] = set()
    for name, subfolders in classes_in.items():
        if not tree.is_made_of_folders((*above, name)):
            continue
        shared = Counter(
            other for each in subfolders for other in holders[each][:_MOST_COMPARED] if other != name
        )
        alike.update(
            name
            for other, count in shared.items()
            if count > 1 and 2 * count >= min(len(subfolders), len(classes_in[other]))
        )
    if not alike & set(neighbours):
        return  # but for splits
    counts = Counter(each for name in alike for each in classes_in[name])
    common = sorted(each for each, count in counts.items() if count > 1)
    folders = sorted(alike)
    what = f"In {tree.root!r}, the folders {_named(folders)} hold the same subfolders: {_named(common)}."
    if classes_on_top or (are_dates(common) and not are_dates(folders)):
        notes.append(f"{what} The upper folders are used as the classes: each photo has one class.")
        return
    advice = on_same_subfolders(
        str(Path(tree.root, *above)), folders, common, classes_in, may_be_classes=alike <= set(neighbours)
    )
    raise DataError(f"{what} {advice}")


def _refuse_copies(tree: Tree, above: tuple[str, ...], classes_in: Mapping[str, Counter[str]]) -> None:
    """Refuse a folder that contains the class folders again, as some archives are packed."""
    for name, subfolders in classes_in.items():
        if not 2 < len(classes_in) <= len(subfolders) + 1:
            continue
        others = classes_in.keys() - {name}
        if others <= subfolders.keys() and tree.is_made_of_folders((*above, name)):
            raise DataError(
                f"In {tree.root!r}, the folder {name!r} holds the class folders beside it again: "
                f"{_named(sorted(others))}. Remove the copy, or name it: "
                f"{shell_command('train', Path(tree.root, *above, name))}. If it is a class of its own, say "
                "so: --task classification"
            )


def _no_class_folders(source: _Source) -> str:
    return (
        f"{source.path!r} holds photos, but no class folders. Put the photos of each class into a folder of "
        "its own, such as photos/cat and photos/dog."
    )


def _require_learnable(sources: list[_Source], classes_on_top: bool) -> None:
    """Raise DataError with every reason why no model can be trained on these class folders."""
    train = sources[0]
    if train.split not in (None, "train"):
        raise DataError(f"{train.path!r} is there, but there is no 'train' folder beside it to train on.")
    learnable = set(train.photos.column("class_name"))
    problems = []
    if not train.folders_of:
        problems.append(_no_class_folders(train))
    if empty := sorted(train.folders_of.keys() - learnable):
        problems.append(
            f"{train.path!r} has no photos of {_named(empty)}. Fill or remove these class folders, or move "
            "them away if they are no classes."
        )
    if len(train.folders_of) == 1:
        only = Path(train.path, *next(iter(train.folders_of.values())))
        deeper = classes_below(train.photos.column("path"))
        hint = f" If the classes lie deeper, name the folder that holds them: {deeper!r}." if deeper else ""
        problems.append(
            f"{train.path!r} holds a single class, {only.name!r}, but a model needs at least two "
            f"classes. Add a folder of another class.{hint}"
        )
    for source in sources:
        problems += [
            f"{source.path!r} has {len(folders)} folders of one class, {name!r}: their names look alike and "
            "differ in bytes. Merge them or rename one."
            for name, folders in source.folders_of.items()
            if len(folders) > 1
        ]
    for source in sources[1:]:
        unknown = sorted(set(source.photos.column("class_name")) - train.folders_of.keys())
        problems += without_training_photos(source.path, train.path, unknown, train.folders_of)
        if source.split == "val" and not source.photos:
            problems.append(f"{source.path!r} holds no photos in class folders. Fill or remove it.")
    if problems:
        raise DataError("\n".join(problems))
    if not classes_on_top:
        _refuse_album_of_all(train)


def _named(names: Sequence[str]) -> str:
    return listed(list(map(repr, names)), _MOST_NAMED)
