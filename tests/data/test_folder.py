"""Listing a folder: which files are photos of which class and split, and what is refused."""

import json
import os
import random
import re
import shutil
import tempfile
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from headstart.data.sources.folder import read_folder
from headstart.data.sources.source import read_source
from headstart.data.sources.split_names import SPLIT_OF_FOLDER
from headstart.errors import DataError


def relative(paths, root) -> list[str]:
    return [os.path.relpath(path, root).replace(os.sep, "/") for path in paths]


def by_split(listing) -> dict[str | None, Counter]:
    counts: dict[str | None, Counter] = {}
    for candidate in listing.candidates:
        counts.setdefault(candidate.split, Counter())[candidate.class_name] += 1
    return counts


CATS_AND_DOGS = {"cat/1.png": 1, "cat/2.png": 2, "dog/3.png": 3}


def test_class_folders(tree):
    root = tree(CATS_AND_DOGS)
    listing = read_folder(root)
    assert listing.class_names == ("cat", "dog")
    assert by_split(listing) == {None: Counter(cat=2, dog=1)}
    assert relative((candidate.path for candidate in listing.candidates), root) == list(CATS_AND_DOGS)
    assert (listing.found, listing.ignored, listing.without_class) == (3, (), ())


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("training", "validation", "testing"),
        ("Train", "VALID", "Test"),
    ],
)
def test_split_folders_of_every_usual_name(tree, train, val, test):
    root = tree(
        {f"{train}/cat/1.png": 1, f"{train}/dog/2.png": 2, f"{val}/dog/3.png": 3, f"{test}/cat/4.png": 4}
    )
    assert by_split(read_folder(root)) == {
        "train": Counter(cat=1, dog=1),
        "val": Counter(dog=1),
        "test": Counter(cat=1),
    }


def numbered(*paths: str) -> dict[str, int]:
    return {path: number for number, path in enumerate(sorted(paths))}


def below(folder: str, *classes: str) -> list[str]:
    """Two photos of each class in a folder."""
    return [f"{folder}/{name}/{number}.png" for name in classes or ("cat", "dog") for number in range(2)]


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("training_set", None, "test_set"),
        ("seg_train/seg_train", None, "seg_test/seg_test"),
        ("Train_data", "Valid_data", "Test_data"),
        ("TRAIN", "DEV", "TEST"),
        ("train", "eval", None),
        ("train", "validate", "holdout"),
        ("TrainingSet", "ValidationSet", "TestingSet"),
        ("trainset", "valset", "testset"),
        ("flowers-train", "flowers-val", "flowers-test"),
        ("train_images", "val_images", "test_images"),
        ("train2017", "val2017", "test2017"),
        ("01 train", "02 val", "03 test"),
        ("train/train", "val/val", "test/test"),
        ("Train/TRAIN/train", None, "test"),
        ("entrenamiento", "validación", "prueba"),
        ("Trainingsdaten", "Validierung", "Testdaten"),
        ("训练集", "验证集", "测试集"),
        ("train", "dev", "tst"),
    ],
)
def test_splits_are_recognised_by_other_names(tree, train, val, test):
    folders = {"train": train, "val": val, "test": test}
    root = tree(numbered(*(path for folder in folders.values() if folder for path in below(folder))))
    listing = read_folder(root)
    assert by_split(listing) == {
        split: Counter(cat=2, dog=2) for split, folder in folders.items() if folder is not None
    }
    assert listing.found == len(listing.candidates)
    if all(folder is None or folder.lower() not in SPLIT_OF_FOLDER for folder in folders.values()):
        assert any(repr(train.split("/")[0]) in note for note in listing.notes) or "/" in train


def test_the_photos_to_predict_beside_recognised_splits_are_ignored_and_named(tree):
    paths = [*below("seg_train/seg_train"), *below("seg_test/seg_test"), "seg_pred/seg_pred/9.png"]
    listing = read_folder(tree(numbered(*paths)))
    assert by_split(listing) == {"train": Counter(cat=2, dog=2), "test": Counter(cat=2, dog=2)}
    assert len(listing.without_class) == 1


def test_words_alone_make_no_splits(tree):
    paths = [
        f"{name}/{number}.png" for name in ("train station", "test tube", "dev board") for number in (1, 2)
    ]
    assert by_split(read_folder(tree(numbered(*paths)))) == {
        None: Counter({"train station": 2, "test tube": 2, "dev board": 2})
    }


@pytest.mark.parametrize("folder", ["photos", "photos/PHOTOS"])
def test_a_folder_in_a_folder_of_its_own_name_is_passed_through(tree, folder):
    root = tree(numbered(*below(folder)))
    listing = read_folder(root)
    assert by_split(listing) == {None: Counter(cat=2, dog=2)}
    assert any(folder in note for note in listing.notes)
    tree(numbered(*below(f"{folder}/train"), *below(f"{folder}/test")))
    for name in ("cat", "dog"):
        shutil.rmtree(root / folder / name)
    assert set(by_split(read_folder(root))) == {"train", "test"}


def test_a_validation_folder_is_passed_through_too(tree):
    root = tree(numbered(*below("seg_train/seg_train"), *below("seg_test/seg_test")))
    assert by_split(read_folder(root / "seg_train", root / "seg_test")) == {
        "train": Counter(cat=2, dog=2),
        "val": Counter(cat=2, dog=2),
    }


SAME_SUBFOLDERS = {
    "domains": [*below("art"), *below("photo"), *below("sketch", "cat", "dog", "horse")],
    "folds": [path for fold in range(5) for path in below(f"fold{fold}")],
    "numbers": [path for fold in range(3) for path in below(str(fold))],
    "sites": [*below("hospital A"), *below("hospital B")],
    "years": [*below("2020"), *below("2021")],
    "part of the data": [*below("train"), *below("extra")],
    "beside splits": [*below("train"), *below("test"), *below("more")],
    "one word of a split": [*below("my_train"), *below("rest")],
    "doubled": [*below("art/art"), *below("photo/photo")],
    "some photos beside": [*below("art"), *below("photo", "cat", "dog", "a", "b", "c"), "photo/cover.png"],
}


@pytest.mark.parametrize("case", SAME_SUBFOLDERS)
def test_folders_with_the_same_subfolders_are_refused_with_what_to_do(tree, case):
    root = tree(numbered(*SAME_SUBFOLDERS[case]))
    with pytest.raises(DataError, match="hold the same subfolders") as caught:
        read_folder(root)
    for part in ("--val", "table", "group"):
        assert part in str(caught.value)


def test_splits_below_classes_are_refused(tree):
    root = tree(numbered(*below("bottle", "train", "test"), *below("cable", "train", "test")))
    with pytest.raises(DataError, match="Splits belong above the classes"):
        read_folder(root)


def test_who_says_that_folders_are_classes_is_believed(tree):
    root = tree(numbered(*below("cat", "2020", "2021"), *below("dog", "2020", "2021")))
    with pytest.raises(DataError, match="--task classification"):
        read_source(root)
    listing = read_source(root, task="classification")
    assert by_split(listing) == {None: Counter(cat=4, dog=4)}
    assert any("used as the classes" in note for note in listing.notes)


NOT_THE_SAME = {
    "one subfolder each": [*below("cat", "images"), *below("dog", "images")],
    "one in common": [*below("cat", "indoor", "2020", "2021"), *below("dog", "indoor", "a", "b")],
    "few in common": [*below("cat", *"abcdefgh"), *below("dog", *"abijklmn")],
    "photos above them": [
        *(f"{name}/{number}.png" for name in ("cat", "dog") for number in range(9)),
        *below("cat", "old", "new"),
        *below("dog", "old", "new"),
    ],
}


@pytest.mark.parametrize("case", NOT_THE_SAME)
def test_classes_may_have_subfolders(tree, case):
    assert read_folder(tree(numbered(*NOT_THE_SAME[case]))).class_names == ("cat", "dog")


ALIKE = [
    ("Cat", "cat"),
    ("polar bear", "polar_bear"),
    ("polar-bear", "PolarBear"),
    ("cat ", "cat"),
    ("ﬁsh", "fish"),
    ("Straße", "STRASSE"),
]


@pytest.mark.parametrize("names", ALIKE)
@pytest.mark.parametrize("form", ["folders", "table", "labels"])
def test_classes_whose_names_are_almost_the_same_are_named_with_their_photos(tree, names, form):
    if form != "folders" and names[0].strip() == names[1]:
        names = ("Cat", "cat")  # spaces around a label never count
    files = {f"{names[0]}/1.png": 1, f"{names[1]}/2.png": 2, "tea/3.png": 3}
    root = tree(files)
    source = root
    if form != "folders":
        source = root / "t.csv"
        column = "label" if form == "table" else "labels"
        source.write_text(f"image,{column}\n" + "".join(f"{path},{path.split('/')[0]}\n" for path in files))
    listing = read_source(source)
    assert len(listing.class_names) == 3
    [note] = [note for note in listing.notes if "case, spaces" in note]
    for part in (*names, "1.png", "2.png"):
        assert part in note
    assert "tea" not in note


def test_names_that_differ_in_more_are_not_mentioned(tree):
    root = tree({"cat/1.png": 1, "cats/2.png": 2, "c/3.png": 3, "_/4.png": 4, "-/5.png": 5})
    assert read_folder(root).notes == ()


def test_photos_in_nested_folders_count_to_their_class(tree):
    root = tree({"cat/2020/may/1.png": 1, "cat/2.png": 2, "dog/train/3.png": 3})
    assert by_split(read_folder(root)) == {None: Counter(cat=2, dog=1)}


def test_a_class_may_be_called_train(tree):
    root = tree({"bus/1.png": 1, "car/2.png": 2, "train/3.png": 3})
    assert read_folder(root).class_names == ("bus", "car", "train")


def test_a_second_folder_holds_the_validation_photos(tree):
    root = tree({"a/cat/1.png": 1, "a/dog/2.png": 2, "b/cat/3.png": 3, "b/readme.txt": b"", "b/4.png": 4})
    listing = read_folder(root / "a", root / "b")
    assert by_split(listing) == {"train": Counter(cat=1, dog=1), "val": Counter(cat=1)}
    assert listing.found == 5
    assert relative(listing.ignored, root) == ["b/4.png", "b/readme.txt"]


def test_the_validation_folder_may_lie_inside_the_folder(tree):
    root = tree({**CATS_AND_DOGS, "held out/cat/4.png": 4})
    assert by_split(read_folder(root, root / "held out")) == {
        "train": Counter(cat=2, dog=1),
        "val": Counter(cat=1),
    }
    root = tree({"x/train/cat/1.png": 1, "x/train/dog/2.png": 2, "x/val/cat/3.png": 3})
    assert by_split(read_folder(root / "x", root / "x" / "val"))["val"] == Counter(cat=1)


def test_a_second_folder_goes_with_train_and_test_folders(tree):
    root = tree({"a/train/cat/1.png": 1, "a/train/dog/2.png": 2, "a/test/cat/3.png": 3, "b/dog/4.png": 4})
    assert by_split(read_folder(root / "a", root / "b")) == {
        "train": Counter(cat=1, dog=1),
        "test": Counter(cat=1),
        "val": Counter(dog=1),
    }


def test_what_is_no_photo_is_ignored_and_counted(tree, count_files):
    ignored = {
        ".DS_Store": b"x",
        ".hidden/cat/1.png": 11,
        "cat/.hidden.png": 12,
        "cat/._1.png": 13,
        "cat/.ipynb_checkpoints/1.png": 14,
        "cat/Thumbs.db": 15,
        "cat/DESKTOP.INI": b"",
        "__MACOSX/cat/1.png": 16,
        "README.txt": b"BMW and other cars",
        "cat/labels.csv": b"a,b",
        "cat/empty": b"",
    }
    root = tree({**CATS_AND_DOGS, **ignored})
    listing = read_folder(root)
    assert listing.class_names == ("cat", "dog")
    assert sorted(relative(listing.ignored, root)) == sorted(ignored)
    assert listing.without_class == ()
    assert listing.found == len(ignored) + 3 == count_files(root)


def test_images_beside_the_class_folders_are_ignored_and_named(tree):
    root = tree({**CATS_AND_DOGS, "poster.png": 9, "raw": 10})
    listing = read_folder(root)
    assert relative(listing.without_class, root) == ["poster.png", "raw"]
    assert set(listing.without_class) <= set(listing.ignored)
    root = tree({"s/train/cat/1.png": 1, "s/train/dog/2.png": 2, "s/test/3.png": 3, "s/extra/4.png": 4})
    tree({"s/val/cat/5.png": 5})
    assert relative(read_folder(root / "s").without_class, root) == ["s/extra/4.png", "s/test/3.png"]


RUN = {"config.toml": b"", "metrics.json": b"{}", "curves.png": 21, "checkpoints/best.safetensors": b""}


@pytest.mark.parametrize(
    "runs",
    [["runs/photos"], ["runs/photos", "runs/photos-2"], ["runs/by/date/1"], ["cat/run"], ["runs"], ["cat"]],
    ids=str,
)
def test_runs_are_never_data_wherever_they_lie(tree, count_files, runs):
    root = tree({**CATS_AND_DOGS, **{f"{run}/{name}": data for run in runs for name, data in RUN.items()}})
    tree({"owl/4.png": 4})
    listing = read_folder(root)
    photos = Counter(cat=2, dog=1, owl=1)
    if runs == ["cat"]:
        del photos["cat"]
    assert by_split(listing) == {None: photos}
    assert listing.without_class == ()
    assert listing.found == count_files(root)


def test_a_folder_that_was_trained_on_in_place_can_be_trained_on_again(tree):
    root = tree({f"{split}/{name}": n for split in ("train", "val") for name, n in CATS_AND_DOGS.items()})
    before = read_folder(root)
    tree({f"runs/photos/{name}": data for name, data in RUN.items()})
    after = read_folder(root)
    assert after.candidates == before.candidates
    assert len(after.ignored) == len(RUN)


def test_a_class_folder_that_is_empty_but_for_a_run_is_no_class(tree):
    root = tree({**CATS_AND_DOGS, "runs/x/config.toml": b"", "runs/x/model.onnx": b"", "runs/notes.txt": b""})
    assert read_folder(root).class_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("no suffix", 1),
        ("photo.dat", 1),
        ("PHOTO.JPG", 1),
        ("empty.png", b""),
        ("text.jpeg", b"hello"),
        ("phone.HEIC", b"x"),
        ("phone", b"\0\0\0\x18ftypheic\0\0\0\0"),
        ("scan.ppm", b"P6"),
    ],
)
def test_a_suffix_or_the_first_bytes_make_a_candidate(tree, name, content):
    root = tree({**CATS_AND_DOGS, f"dog/{name}": content})
    assert f"dog/{name}" in relative((c.path for c in read_folder(root).candidates), root)


def test_order_does_not_depend_on_the_file_system(tree, monkeypatch):
    root = tree({f"{name}/{n}.png": n for name in ("b", "B", "ä", "a b", "a") for n in (10, 9, 1)})
    expected = read_folder(root)
    names = [os.fsencode(path) for path in relative((c.path for c in expected.candidates), root)]
    assert names == sorted(names, key=lambda name: name.split(b"/"))
    real = os.scandir

    class Shuffled:
        def __init__(self, path):
            with real(path) as scan:
                self.entries = random.Random(1).sample(entries := list(scan), len(entries))

        def __enter__(self):
            return self.entries

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(os, "scandir", Shuffled)
    assert read_folder(root) == expected


def test_link_loops_are_followed_once(tree, count_files):
    root = tree(CATS_AND_DOGS)
    (root / "cat" / "up").symlink_to(root, target_is_directory=True)
    (root / "cat" / "self").symlink_to(root / "cat", target_is_directory=True)
    (root / "loop").symlink_to(root, target_is_directory=True)
    (root / "again").symlink_to(root / "dog", target_is_directory=True)
    (root / "dog" / "round").symlink_to("round")
    listing = read_folder(root)
    assert by_split(listing) == {None: Counter(cat=2, dog=1)}
    assert relative(listing.ignored, root) == ["dog/round"]
    assert listing.found == count_files(root) == 4


def test_linked_folders_and_files_are_photos(tree):
    root = tree({"in/cat/1.png": 1, "store/dogs/2.png": 2, "store/dogs/deeper/3.png": 3, "in/bird/5.png": 5})
    (root / "in" / "dog").symlink_to(root / "store" / "dogs", target_is_directory=True)
    (root / "in" / "cat" / "copy.png").symlink_to(root / "in" / "cat" / "1.png")
    (root / "in" / "cat" / "gone.png").symlink_to(root / "nowhere.png")
    assert by_split(read_folder(root / "in")) == {None: Counter(cat=3, dog=2, bird=1)}


def test_class_folders_may_be_links_into_a_hidden_folder(tree):
    root = tree({".store/1/cat/1.png": 1, ".store/1/dog/2.png": 2})
    for name in ("cat", "dog"):
        (root / name).symlink_to(root / ".store" / "1" / name, target_is_directory=True)
    assert by_split(read_folder(root)) == {None: Counter(cat=1, dog=1)}


def test_a_real_folder_goes_before_a_link_to_it(tree):
    root = tree({"dog/1.png": 1, "cat/2.png": 2})
    (root / "a link").symlink_to(root / "dog", target_is_directory=True)
    assert read_folder(root).class_names == ("cat", "dog")


def test_pipes_and_sockets_are_ignored_without_waiting_for_them(tree):
    root = tree(CATS_AND_DOGS)
    os.mkfifo(root / "cat" / "pipe.png")
    os.mkfifo(root / "cat" / "pipe")
    assert relative(read_folder(root).ignored, root) == ["cat/pipe", "cat/pipe.png"]


NAMES = ["äöü", "猫", "🐶🐕", "with space", "new\nline", "tab\tand\rreturn", '"quoted",', "-rf", "x" * 255]


@pytest.mark.parametrize("name", [*NAMES, os.fsdecode(b"caf\xe9"), os.fsdecode(b"\xff\xfe")])
def test_classes_and_photos_of_any_name(tree, name):
    root = tree({f"{name}/1.png": 1, "other/2.png": 2, f"other/{name[-251:]}.png": 3})
    listing = read_folder(root)
    assert len(listing.class_names) == 2
    json.dumps(listing.class_names).encode()
    "".join(listing.class_names).encode("utf-8")
    for candidate in listing.candidates:
        assert Path(candidate.path).read_bytes()


file_names = st.binary(min_size=1, max_size=40).filter(
    lambda name: not set(name) & set(b"\0/") and not name.startswith(b".")
)


@settings(max_examples=60, deadline=None)
@given(
    classes=st.sets(file_names, min_size=2, max_size=4), photos=st.sets(file_names, min_size=1, max_size=3)
)
def test_any_bytes_are_a_name(classes, photos):
    assume(not any(name.lower() in (b"thumbs.db", b"desktop.ini", b"__macosx") for name in classes))
    assume(not any(name.lower().decode("latin-1") in SPLIT_OF_FOLDER for name in classes))
    with tempfile.TemporaryDirectory() as temporary:
        paths = {
            str(Path(temporary, os.fsdecode(class_folder), os.fsdecode(name + b".png")))
            for class_folder in classes
            for name in photos
        }
        for path in paths:
            try:
                Path(path).parent.mkdir(exist_ok=True)
            except OSError:  # a file system that wants UTF-8
                assume(False)
            Path(path).write_bytes(b"\x89PNG")
        try:
            listing = read_folder(temporary)
        except DataError as error:
            assert "names look alike" in str(error)  # noqa: PT017
            return
        assert listing.found == len(listing.candidates) == len(classes) * len(photos)
        assert {candidate.path for candidate in listing.candidates} == paths
        assert len(listing.class_names) == len(classes)
        "".join(listing.class_names).encode("utf-8")


def test_classes_are_the_same_in_both_ways_of_writing_an_accent(tree):
    composed, decomposed = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")
    assert composed != decomposed
    root = tree({f"train/{composed}/1.png": 1, "train/tea/2.png": 2, f"val/{decomposed}/3.png": 3})
    listing = read_folder(root)
    assert listing.class_names == (composed, "tea")
    assert by_split(listing)["val"] == Counter({composed: 1})


def test_classes_are_mapped_by_name_not_by_position(tree):
    root = tree(
        {"train/a/1.png": 1, "train/b/2.png": 2, "train/c/3.png": 3, "val/b/4.png": 4, "val/c/5.png": 5}
    )
    listing = read_folder(root)
    assert listing.class_names == ("a", "b", "c")
    assert by_split(listing)["val"] == Counter(b=1, c=1)


REFUSED = {
    "no images": ({"notes.txt": b"x", "cat": None}, "No images in .*: 1 file found"),
    "empty folder": ({}, "0 files found"),
    "no class folders": ({"1.png": 1, "2.png": 2}, "holds photos, but no class folders"),
    "single class": ({"cat/1.png": 1}, "holds a single class, 'cat', .* Add a folder of another class"),
    "the classes lie deeper": ({"data/cat/1.png": 1, "data/dog/2.png": 2}, r"name the folder .*photos/data'"),
    "empty class": ({**CATS_AND_DOGS, "bird": None, "fish/a.txt": b""}, "no photos of 'bird', 'fish'"),
    "empty class in train": (
        {"train/cat/1.png": 1, "train/dog": None, "val/cat/2.png": 2, "val/dog/3.png": 3},
        "no photos of 'dog'",
    ),
    "class in val only": (
        {"train/cat/1.png": 1, "train/dog/2.png": 2, "val/dgo/3.png": 3},
        r"photos/val' has a class 'dgo', which '.*photos/train' does not have\. Did you mean 'dog'\?",
    ),
    "class in test only": (
        {"train/cat/1.png": 1, "train/dog/2.png": 2, "test/Cat/3.png": 3},
        "'Cat', which .* does not have. Did you mean 'cat'",
    ),
    "many classes in val only": (
        {"train/cat/1.png": 1, "train/dog/2.png": 2, **{f"val/x{n}/3.png": 3 for n in range(30)}},
        "has 30 classes .* and 20 more",
    ),
    "no train": (
        {"val/cat/1.png": 1, "val/dog/2.png": 2},
        "photos/val' is there, but there is no 'train' folder beside it to train on",
    ),
    "empty val": (
        {"train/cat/1.png": 1, "train/dog/2.png": 2, "val": None},
        "photos/val' holds no photos in class",
    ),
    "val without classes": (
        {"train/cat/1.png": 1, "train/dog/2.png": 2, "val/3.png": 3},
        "photos/val' holds no photos in class folders",
    ),
    "train without classes": ({"train/1.png": 1, "val/2.png": 2}, "photos/train' holds photos, but no class"),
    "two trains": (
        {"train/cat/1.png": 1, "Training/dog/2.png": 2},
        "'Training', 'train' both mean train",
    ),
    "test beside classes": (
        {**CATS_AND_DOGS, "test/9.png": 9},
        "'test' is the name of a split.*'cat', 'dog'",
    ),
    "train beside classes": ({"bus/1.png": 1, "train/old/2.png": 2}, "'train' is the name of a split.*'bus'"),
    "look-alike classes": (
        {"caf\u00e9/1.png": 1, "cafe\u0301/2.png": 2, "tea/3.png": 3},
        "2 folders of one class, 'café'",
    ),
    "look-alike classes, by bytes": (
        {os.fsdecode(b"\xff") + "/1.png": 1, "\\xff/2.png": 2, "tea/3.png": 3},
        "2 folders of one class",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_folders_that_cannot_be_used_are_refused_with_the_reason(tree, case):
    files, expected = REFUSED[case]
    with pytest.raises(DataError) as caught:
        read_folder(tree(files))
    assert re.search(expected, str(caught.value)), str(caught.value)


NOT_FOR_TRAINING = {
    "single class": ({"cat/1.png": 1}, {None: Counter(cat=1)}, ("cat",)),
    "empty class": ({"cat/1.png": 1, "dog": None}, {None: Counter(cat=1)}, ("cat",)),
    "test alone": ({"test/cat/1.png": 1, "test/dog": None}, {"test": Counter(cat=1)}, ("cat",)),
    "no train": (
        {"val/cat/1.png": 1, "test/dog/2.png": 2},
        {"val": Counter(cat=1), "test": Counter(dog=1)},
        ("cat", "dog"),
    ),
    "other classes than in train": (
        {"train/cat/1.png": 1, "val/dog/2.png": 2, "test": None},
        {"train": Counter(cat=1), "val": Counter(dog=1)},
        ("cat",),
    ),
}


@pytest.mark.parametrize("case", NOT_FOR_TRAINING)
def test_what_cannot_be_learned_from_can_still_be_listed(tree, case):
    files, expected, class_names = NOT_FOR_TRAINING[case]
    root = tree(files)
    with pytest.raises(DataError):
        read_folder(root)
    listing = read_folder(root, for_training=False)
    assert by_split(listing) == expected
    assert listing.class_names == class_names


@pytest.mark.parametrize("case", ["no images", "no class folders", "two trains", "test beside classes"])
def test_what_has_no_clear_meaning_is_refused_for_every_purpose(tree, case):
    files, expected = REFUSED[case]
    with pytest.raises(DataError) as caught:
        read_folder(tree(files), for_training=False)
    assert re.search(expected, str(caught.value)), str(caught.value)


def test_every_problem_is_named_at_once(tree):
    root = tree({"train/cat/1.png": 1, "train/dog": None, "val/x/2.png": 2, "test/y/3.png": 3})
    with pytest.raises(DataError) as caught:
        read_folder(root)
    for part in ("no photos of 'dog'", "class 'x'", "class 'y'"):
        assert part in str(caught.value)


def test_missing_folders_and_files_are_named(tree):
    root = tree(CATS_AND_DOGS)
    with pytest.raises(DataError, match=r"There is no folder '.*nowhere'"):
        read_folder(root / "nowhere")
    with pytest.raises(DataError, match=r"1\.png' is a file"):
        read_folder(root / "cat" / "1.png")
    with pytest.raises(DataError, match=r"There is no folder '.*nowhere'"):
        read_folder(root, root / "nowhere")


def test_two_validation_sets_are_one_too_many(tree):
    root = tree({"a/train/cat/1.png": 1, "a/train/dog/2.png": 2, "a/val/cat/3.png": 3, "b/cat/4.png": 4})
    with pytest.raises(DataError, match=r"two validation sets, .*a/val' and .*b'"):
        read_folder(root / "a", root / "b")
    with pytest.raises(DataError, match="cannot be both"):
        read_folder(root / "b", root / "a" / ".." / "b")


def test_a_folder_that_cannot_be_listed_is_an_error_not_a_loss(tree, monkeypatch):
    root = tree(CATS_AND_DOGS)
    real = os.scandir

    def refuse(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"dog' cannot be listed: Permission denied"):
        read_folder(root)


def test_a_file_whose_first_bytes_cannot_be_read_is_counted(tree, monkeypatch):
    root = tree({**CATS_AND_DOGS, "cat/locked": 4})
    real = open

    def refuse(path, *arguments, **keywords):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **keywords)

    monkeypatch.setattr("builtins.open", refuse)
    assert relative(read_folder(root).ignored, root) == ["cat/locked"]


def test_the_folder_may_be_given_as_string_or_path(tree):
    root = tree(CATS_AND_DOGS)
    assert read_folder(str(root)) == read_folder(root)


@pytest.mark.slow
def test_twenty_thousand_classes(tmp_path):
    for number in range(20_000):
        (tmp_path / f"class {number}").mkdir()
        (tmp_path / f"class {number}" / "1.png").write_bytes(b"")
    assert len(read_folder(tmp_path).class_names) == 20_000
